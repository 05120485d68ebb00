"""The main way of steering, with buttons alone: pause, resume, cancel, and end what does not obey."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.control import OBEY_WITHIN
from apps.progress.models import Run
from tests.processes import Server

from .conftest import TOTAL, is_live, see

PANEL = "#dataset-live"
# The browser's clock of the animation that lets a button appear late.
MOVE_CLOCK = """
milliseconds => {
  for (const animation of document.getAnimations()) {
    if (animation.animationName === 'appear-late') animation.currentTime = milliseconds;
  }
}
"""


def test_a_run_is_paused_resumed_and_ended_where_it_does_not_obey(
    run: Run, visit: Callable[..., Page], server: Server
) -> None:
    owner, client = User.objects.create_user("ada"), Client()
    client.force_login(owner)
    Dataset.objects.filter(pk=run.dataset_id).update(owner=owner)
    progress.report(run.pk, current=TOTAL // 2)
    page = visit(f"{server.url}/datasets/cats/", client.cookies["sessionid"].value)
    panel = page.locator(PANEL)

    page.get_by_role("button", name="Pause", exact=True).click()
    expect(panel).to_contain_text("Pausing…")
    is_live(page)
    progress.acknowledge(run.pk)  # its reporter was told, and holds
    expect(panel).to_contain_text("Paused")
    expect(panel).not_to_contain_text("Pausing…")

    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    is_live(page)
    progress.report(run.pk, current=TOTAL // 2 + 1)
    see(page, TOTAL // 2 + 1)

    page.get_by_role("link", name="Cancel run…").click()
    page.get_by_role("button", name="Cancel run").click()
    expect(panel).to_contain_text("Cancelling…")
    end = page.locator("#control-end")
    expect(end).to_be_hidden()
    almost = OBEY_WITHIN / timedelta(milliseconds=1) - 100
    page.evaluate(MOVE_CLOCK, almost)
    expect(end).to_be_hidden()
    page.evaluate(MOVE_CLOCK, almost + 200)
    expect(end).to_be_visible()
    Run.objects.filter(pk=run.pk).update(control_at=timezone.now() - OBEY_WITHIN)
    end.click()
    expect(page.locator("#messages")).to_contain_text("Ended.")
    expect(panel).to_contain_text("Cancelled")
    run.refresh_from_db()
    assert (run.state, run.cancelled, run.control_by) == ("error", True, "ada")
