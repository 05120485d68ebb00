"""Of what a user is told: chosen on a page, shown to nobody else, and asked for by open pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.batches.models import Batch, BatchMember
from apps.datasets.models import Dataset
from apps.notifications import allowed_addresses, services
from apps.notifications.batch_ends import end_batches
from apps.notifications.models import Delivery, Subscription
from apps.notifications.services import DIGEST_AFTER, SINGLE_MESSAGES
from apps.progress.models import Run
from tests.progress.helpers import say
from tests.services import wait_until

AsUser = Callable[[User | None], Client]
RunIn = Callable[..., Run]
PAGE = {"name": "mine", "channel": "page", "datasets": "*", "events": ["ready", "failed"], "failures_over": 5}
HOOK = {**PAGE, "channel": "webhook", "address": "https://hooks.example.org/T0/top-secret"}


def deliver() -> None:
    while services.handle_events():
        pass
    for pk in services.due_subscriptions():
        services.send_due(pk)


def test_a_webhook_shows_its_secret_once_and_its_address_never(as_user: AsUser, owner: User) -> None:
    client = as_user(owner)
    page = client.post(reverse("notifications"), HOOK)
    subscription = Subscription.objects.get()
    assert subscription.user == owner
    assert subscription.secret.startswith("whsec_")
    assert subscription.secret in page.text
    again = client.get(reverse("notifications")).text
    assert "mine" in again
    assert subscription.secret not in again
    assert "top-secret" not in page.text + again


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel": "webhook", "address": "ftp://example.org"}, "Write it as https://"),
        ({"channel": "webhook", "address": "https://[::1"}, "Write it as https://"),
        ({"channel": "webhook", "address": ""}, "Write it as https://"),
        ({"channel": "chat", "address": "json://example.org"}, "This service cannot be used."),
        ({"channel": "chat", "address": "slack://"}, "The address is not complete."),
        ({"channel": "pigeon"}, "Select a valid choice"),
        ({"datasets": "a b?"}, "neither an ID"),
        ({"batches": "a b?"}, "neither an ID"),
        ({"datasets": "", "batches": " "}, "Name datasets, batches, or both."),
        ({"events": []}, "required"),
        ({"failures_over": 100}, "less than or equal to 99"),
    ],
)
def test_a_mistake_is_told(as_user: AsUser, owner: User, change: dict[str, Any], words: str) -> None:
    response = as_user(owner).post(reverse("notifications"), {**PAGE, **change})
    assert response.status_code == 422
    assert words in response.text
    assert not Subscription.objects.exists()


def test_a_user_has_a_bounded_number(as_user: AsUser, owner: User) -> None:
    Subscription.objects.bulk_create(Subscription(user=owner, name=str(number)) for number in range(50))
    assert "Delete one first" in as_user(owner).post(reverse("notifications"), PAGE).text
    assert Subscription.objects.count() == 50


def test_others_do_not_touch_it(as_user: AsUser, owner: User, stranger: User) -> None:
    subscription = Subscription.objects.create(user=owner, name="mine")
    for name in ("notification-test", "notification-delete"):
        address = reverse(name, args=[subscription.pk])
        assert as_user(stranger).post(address).status_code == 404
        assert as_user(owner).get(address).status_code == 405
        assert as_user(None).post(address).status_code == 302
    assert "mine" not in as_user(stranger).get(reverse("notifications")).text
    assert not Delivery.objects.exists()


def test_a_test_says_what_came_of_it(as_user: AsUser, owner: User) -> None:
    client = as_user(owner)
    client.post(reverse("notifications"), {**HOOK, "address": "http://127.0.0.1:9/"})
    subscription = Subscription.objects.get()
    assert "A test is on its way" in client.post(reverse("notification-test", args=[subscription.pk]), follow=True).text
    allowed_addresses.guard()
    deliver()
    assert "Test · Undelivered" in " ".join(client.get(reverse("notifications")).text.split())
    client.post(reverse("notification-delete", args=[subscription.pk]))
    assert not Subscription.objects.exists()


def test_an_open_page_is_told_each_event_once(
    as_user: AsUser, owner: User, stranger: User, private: Dataset, run_in: RunIn
) -> None:
    client, address = as_user(owner), reverse("notifications-recent")
    assert client.get(address).json() == {"active": False, "last": 0, "notices": []}
    for _ in range(2):  # both want the same
        client.post(reverse("notifications"), PAGE)
    first = client.get(address).json()
    assert first["active"] is True
    run_in(private, "error")
    deliver()
    told = told_since(client, first["last"])
    [notice] = told["notices"]
    assert (notice["title"], notice["link"]) == ("shut.1 failed", "/datasets/shut.1/")
    assert client.get(address, {"after": told["last"]}).json()["notices"] == []
    assert as_user(stranger).get(address, {"after": 0}).json()["notices"] == []
    assert client.get(address, {"after": "x" * 99}).json()["notices"] == []
    Dataset.objects.filter(pk=private.pk).update(owner=None)  # who may see it no longer
    assert client.get(address, {"after": first["last"]}).json()["notices"] == []
    assert as_user(None).get(address).status_code == 302


def told_since(client: Client, after: int) -> dict[str, Any]:
    """What an open page is told next, once it is told of all that was sent."""
    newest = Delivery.objects.filter(state="sent").latest("sent_at").sent_at
    assert newest is not None
    answers: list[dict[str, Any]] = []

    def is_told() -> bool:
        answers.append(client.get(reverse("notifications-recent"), {"after": after}).json())
        return datetime.fromtimestamp(answers[-1]["last"] / 1e6, UTC) > newest

    wait_until(is_told, seconds=30, what="the page is told nothing")
    return answers[-1]


def test_a_storm_is_one_notice_on_an_open_page(as_user: AsUser, owner: User, private: Dataset) -> None:
    client = as_user(owner)
    client.post(reverse("notifications"), PAGE)
    first = client.get(reverse("notifications-recent")).json()
    for _ in range(20):
        say(private, state="indexing", current=1)
        say(private, state="error", error="disk full")
    deliver()
    assert Delivery.objects.filter(state="sent").count() == SINGLE_MESSAGES
    second = told_since(client, first["last"])
    assert [notice["title"] for notice in second["notices"]] == ["shut.1 failed"] * 5
    minute_ago = timezone.now() - DIGEST_AFTER
    Delivery.objects.waiting().update(next_at=minute_ago, created_at=minute_ago)
    deliver()
    [digest] = told_since(client, second["last"])["notices"]
    assert (digest["title"], digest["link"]) == ("15 events: 15 failed", "/")
    assert not Delivery.objects.waiting().exists()


def test_an_open_page_is_told_the_end_of_a_batch(as_user: AsUser, owner: User, private: Dataset, run_in: RunIn) -> None:
    client, address = as_user(owner), reverse("notifications-recent")
    assert client.post(reverse("notifications"), {**PAGE, "datasets": "", "batches": "night*"}).status_code == 200
    batch = Batch.objects.create(batch_id="nightly")
    BatchMember.objects.create(batch=batch, dataset=private)
    run_in(private, "error")
    deliver()
    Batch.objects.update(end_check_at=timezone.now())  # as after a quiet minute
    end_batches()
    deliver()
    [notice] = told_since(client, 0)["notices"]
    assert (notice["title"], notice["text"].splitlines()[0]) == (
        "Batch nightly has failures",
        "0 of 1 ready, 1 failed.",
    )
    assert notice["link"] == batch.get_absolute_url()
    page = " ".join(client.get(reverse("notifications")).text.split())
    assert "· batches night* · ready, failed" in page
    assert "Batch nightly: Failed · Sent" in page
    Dataset.objects.filter(pk=private.pk).update(owner=None)  # who may see it no longer
    assert client.get(address, {"after": 0}).json()["notices"] == []


def test_the_page_is_reached_from_every_page(as_user: AsUser, owner: User) -> None:
    assert f'data-recent="{reverse("notifications-recent")}"' in as_user(owner).get("/").text
    assert "data-recent" not in as_user(None).get("/").text
