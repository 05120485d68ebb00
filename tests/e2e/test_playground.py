"""Staff try a look: set a state by hand, simulate a run, and watch it over the socket, by polling and by hand."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Locator, Page, expect

from .conftest import ASKING, CONNECTION, is_live


def test_a_simulation_is_watched_in_each_way(open_page: Callable[..., Page]) -> None:
    client = Client()
    client.force_login(User.objects.create_user("stef", is_staff=True))
    page = open_page("/playground/?mode=manual", sessionid=client.cookies["sessionid"].value)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    bar = page.locator("#dataset-live .dataset-progress")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(bar).to_contain_text("45% (45/100)")
    expect(page.locator(CONNECTION)).to_be_hidden()
    assert sockets == []
    simulation = page.locator("form#simulation")
    simulation.get_by_label("Speed").fill("0.05")  # ten minutes
    simulation.get_by_label("Begin a new run").check()
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#messages")).to_have_text("Simulating run 2.")
    page.get_by_role("link", name="Fetch now").click()
    expect(bar).to_contain_text("/1000)")
    page.get_by_label("Polling").check()
    page.get_by_role("button", name="Show").click()
    expect(page.locator(CONNECTION)).to_have_text(ASKING)
    assert sockets == []
    moves(bar)
    page.get_by_label("WebSocket").check()
    page.get_by_role("button", name="Show").click()
    is_live(page)
    assert len(sockets) == 1
    moves(bar)
    page.get_by_role("button", name="Stop").click()
    expect(bar).to_contain_text("Cancelled")


def moves(bar: Locator) -> None:
    """The bar shows a higher count, without the page being loaded again."""
    before = bar.text_content() or ""
    expect(bar).not_to_have_text(before, use_inner_text=False)
