"""The admin's start page says what needs attention and leads to the pages; its tables are in groups, in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.notifications.models import Delivery, Subscription
from apps.pages.attention import SHOWN
from apps.pipeline.models import Job
from apps.progress import services
from apps.progress.models import Run
from tests.progress.helpers import heard_of

pytestmark = pytest.mark.django_db

RunIn = Callable[..., Run]
START = "/admin/"


def made(name: str) -> Dataset:
    return Dataset.objects.create(dataset_id=name, visibility="public")


def needs(page: str) -> dict[str, list[str]]:
    """What the page says needs attention: the names under each title."""
    part = page.split('id="attention"')[1].split("</section>")[0]
    found = {}
    for chunk in part.split("<h3>")[1:]:
        title, *names = re.findall(r"<a href=[^>]*>([^<]*)</a>", chunk)
        found[title] = names
    return found


def test_a_newcomer_is_led_to_the_pages(admin_client: Client, run_in: RunIn) -> None:
    page = admin_client.get(START).text
    assert f'href="{reverse("datasets")}">Open the datasets</a>' in page
    for name in ("dataset-new", "tokens", "notifications", "playground"):
        assert f'href="{reverse(name)}"' in page
    assert page.index("Open the datasets") < page.index("Behind the scenes")
    assert needs(page) == {}


def test_it_says_what_needs_attention(admin_client: Client, run_in: RunIn) -> None:
    for state in ("ready", "indexing", "pending"):
        run_in(made(f"fine-{state}"), state)
    services.cancel(run_in(made("cancelled"), "indexing").pk)
    run_in(made("failed"), "error")
    heard_of(run_in(made("lost"), "indexing"), seconds_ago=3600)
    stalled = run_in(made("stalled"), "indexing")
    Run.objects.filter(pk=stalled.pk).update(progressed_at=timezone.now() - timedelta(hours=1))
    stubborn = run_in(made("stubborn"), "indexing")
    services.request_cancel(stubborn.pk, "ada")
    Run.objects.filter(pk=stubborn.pk).update(control_at=timezone.now() - timedelta(seconds=16))
    queued = run_in(made("queued"), "pending")
    Job.objects.create(run=queued)
    Run.objects.filter(pk=queued.pk).update(created_at=timezone.now() - timedelta(minutes=2))
    hook = Subscription.objects.create(name="team chat", channel="webhook", address="https://hooks.example.org/x")
    Delivery.objects.create(subscription=hook, state="failed", reason="It answers 500.", next_at=timezone.now())
    page = admin_client.get(START).text
    assert needs(page) == {
        "Failed": ["failed"],
        "No contact": ["lost"],
        "No progress": ["stalled"],
        "Asked to stop, and does not obey": ["stubborn"],
        "Waits for a worker: is one running?": ["queued"],
        "Notifications that could not be delivered": ["team chat"],
    }
    assert "The folder &lt;b&gt;went&lt;/b&gt; away." in page
    assert "It answers 500." in page
    for address in re.findall(r'<h3>\s*<a href="([^"]+)"', page):  # each leads to the list of all of them
        assert admin_client.get(address.replace("&amp;", "&")).context["cl"].result_count >= 1


def test_it_takes_as_many_queries_for_many_rows_and_shows_a_few(admin_client: Client, run_in: RunIn) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(START)
        return len(captured)

    for number in range(2):
        run_in(made(f"failed-{number}"), "error")
        heard_of(run_in(made(f"lost-{number}"), "indexing"), seconds_ago=3600)
    queries()
    few = queries()
    for number in range(2, 12):
        run_in(made(f"failed-{number}"), "error")
        heard_of(run_in(made(f"lost-{number}"), "indexing"), seconds_ago=3600)
    assert queries() == few
    assert {title: len(names) for title, names in needs(admin_client.get(START).text).items()} == {
        "Failed": SHOWN, "No contact": SHOWN,
    }  # fmt: skip


def test_its_tables_are_in_groups_and_named_in_plain_words(admin_client: Client) -> None:
    response = admin_client.get(START)
    groups = {group["name"]: [model["name"] for model in group["models"]] for group in response.context["app_list"]}
    assert list(groups) == ["Datasets and runs", "People and access", "Notifications", "Behind the scenes"]
    assert groups["Datasets and runs"][:2] == ["Datasets", "Runs"]
    names = [name for group in groups.values() for name in group]
    assert (
        len(names)
        == len(set(names))
        == len(response.context["site_header"] and response.context["available_apps"] and names)
    )
    for jargon in ("Heads", "Transitions", "Worker shares", "Retired", "Run members", "Sources"):
        assert jargon not in names


def test_those_who_may_see_no_table_are_told_so(client: Client) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    client.force_login(looker)
    assert "You may not see any of the tables." in client.get(START).text
    looker.user_permissions.add(Permission.objects.get(codename="view_run"))
    response = client.get(START)
    assert [group["name"] for group in response.context["app_list"]] == ["Datasets and runs"]
