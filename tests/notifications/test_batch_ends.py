"""The end of a batch is told once to each who wants it, in numbers of the datasets that they may see."""

from __future__ import annotations

import json
import threading
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.batches.models import Batch
from apps.batches.selectors import progress_of_batch
from apps.batches.services import QUIET, change_batch, schedule_end_checks
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.notifications import services
from apps.notifications.batch_ends import end_batches
from apps.notifications.models import Delivery, Event, Subscription
from tests.batches.conftest import batch_of, begin
from tests.processes import kill, worker
from tests.progress.helpers import say
from tests.services import wait_until

from .conftest import Endpoint, Subscribe, deliver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dogs(ada: User) -> Dataset:
    return Dataset.objects.create(dataset_id="dogs", visibility="private", owner=ada)


@pytest.fixture
def nightly(dataset: Dataset, dogs: Dataset) -> Batch:
    return batch_of(dataset, dogs)


@pytest.fixture
def wanting(subscribe: Subscribe) -> Subscription:
    """Ada is told of batches alone."""
    return subscribe("page", datasets="")


def run(*datasets: Dataset, state: str = "ready") -> None:
    for dataset in datasets:
        say(dataset, state="indexing", current=1, total=2, failed=1 if state == "error" else 0)
        say(dataset, state=state, **({"error": "disk full"} if state == "error" else {}))


def after_a_minute(*subscriptions: Subscription) -> list[tuple[str, str]]:
    """Do what a worker does now, and once the batches were quiet. Returns what was told so far."""
    deliver(*subscriptions)
    be_quiet()
    deliver(*subscriptions)
    rows = Delivery.objects.order_by("pk").values_list("event__kind", "event__progress__message")
    return list(rows)


def be_quiet() -> None:
    Batch.objects.exclude(end_check_at=None).update(end_check_at=timezone.now())


def test_each_end_is_told_once(nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset) -> None:
    run(dataset, dogs)
    told = [("ready", "2 of 2 ready.")]
    assert after_a_minute(wanting) == told
    schedule_end_checks({dataset.pk})  # as by an event that a worker finds only after the end was told
    assert after_a_minute(wanting) == told
    change_batch(nightly, name="Every night", limit=3)  # which is no end
    schedule_end_checks({dataset.pk})
    assert after_a_minute(wanting) == told
    run(dogs, state="error")
    told.append(("failed", "1 of 2 ready, 1 failed."))
    assert after_a_minute(wanting) == after_a_minute(wanting) == told


def test_runs_that_follow_each_other_are_one_end(
    nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset
) -> None:
    run(dataset, dogs)
    deliver(wanting)
    nightly.refresh_from_db()
    assert nightly.end_check_at is not None
    assert QUIET * 0.9 < nightly.end_check_at - timezone.now() <= QUIET
    assert not Delivery.objects.exists()
    say(dogs, state="indexing", current=1, total=2)  # again, within the minute
    assert after_a_minute(wanting) == []
    say(dogs, state="ready")
    assert after_a_minute(wanting) == [("ready", "2 of 2 ready.")]


@pytest.mark.parametrize("state", ["new", "pending", "embedding", "paused"])
def test_nothing_is_told_while_one_is_unfinished(
    nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset, state: str
) -> None:
    if state != "new":
        begin(dogs, state)
    run(dataset)
    assert after_a_minute(wanting) == []


def test_a_deleted_dataset_holds_up_no_end(
    nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset
) -> None:
    run(dataset)
    delete_dataset(dogs)
    assert after_a_minute(wanting) == [("ready", "1 of 1 ready.")]


def test_a_batch_that_was_cancelled_says_so(
    nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset
) -> None:
    run(dataset)
    begin(dogs, "cancelled")
    assert after_a_minute(wanting) == [("cancelled", "1 of 2 ready, 1 cancelled.")]


def test_only_what_is_wanted_and_may_be_seen_is_told(
    nightly: Batch, subscribe: Subscribe, dataset: Dataset, dogs: Dataset
) -> None:
    guest, stranger = User.objects.create_user("guest"), User.objects.create_user("stranger")
    gone = User.objects.create_user("gone", is_active=False)
    dataset.members.add(guest, gone)
    only: dict[str, Any] = {"datasets": ""}
    expected = {
        subscribe("page", **only).pk: ("failed", 2),
        subscribe("page", **only, batches="nightly").pk: ("failed", 2),
        subscribe("page", **only, batches="a,night*", events=["failed"]).pk: ("failed", 2),
        subscribe("page", **only, user=None).pk: ("failed", 2),
        subscribe("page", **only, user=guest).pk: ("ready", 1),
    }
    subscribe("page", **only, batches="night,weekly-*")  # another batch
    subscribe("page", datasets="", batches="")
    subscribe("page", **only, events=["ready"])
    subscribe("page", **only, user=guest, events=["failed"])  # of nothing that they may see
    subscribe("page", **only, user=stranger)
    subscribe("page", **only, user=gone)
    subscribe("page", **only, is_active=False)
    run(dataset)
    run(dogs, state="error")
    after_a_minute()
    told = {
        delivery.subscription_id: (delivery.event.kind, delivery.event.progress["total"])
        for delivery in Delivery.objects.select_related("event")
        if delivery.event
    }
    assert told == expected
    run(dogs)  # of which the guest sees nothing
    after_a_minute()
    assert Delivery.objects.filter(subscription__user=guest).count() == 1


def test_a_webhook_is_told_the_progress_of_the_batch(
    nightly: Batch, subscribe: Subscribe, endpoint: Endpoint, loopback: None, ada: User, dataset: Dataset,
    dogs: Dataset, settings: Any,
) -> None:  # fmt: skip
    settings.SITE_URL = "https://progress.example.org"
    subscription = subscribe("webhook", address=endpoint.url, datasets="")
    run(dataset)
    run(dogs, state="error")
    after_a_minute(subscription)
    [received] = endpoint.received
    told = json.loads(received.body)
    shown = progress_of_batch(Caller(ada), nightly).model_dump(mode="json")
    assert (told["type"], told["data"]) == (
        "batch.failed",
        {"batch_id": "nightly", "link": "https://progress.example.org/batches/nightly/", "progress": shown},
    )


def test_an_email_says_how_many(
    nightly: Batch, subscribe: Subscribe, mail: list[EmailMessage], dataset: Dataset, dogs: Dataset, settings: Any
) -> None:
    settings.SITE_URL = "https://progress.example.org"
    subscription = subscribe("email", datasets="")
    run(dataset)
    run(dogs, state="error")
    after_a_minute(subscription)
    [message] = mail
    assert message["Subject"] == "[Dataset Progress] Batch nightly has failures"
    assert str(message.get_payload()).splitlines()[:4] == [
        "1 of 2 ready, 1 failed.", "1 failed item", "", "https://progress.example.org/batches/nightly/"
    ]  # fmt: skip


def test_a_digest_names_batches(subscribe: Subscribe, endpoint: Endpoint, loopback: None, dataset: Dataset) -> None:
    subscription = subscribe("webhook", address=endpoint.url, datasets="")
    for number in range(7):
        batch_of(dataset, batch_id=f"b{number}")
    run(dataset)
    after_a_minute(subscription)
    early = timezone.now() - services.DIGEST_AFTER
    Delivery.objects.waiting().update(next_at=early, created_at=early)
    deliver(subscription)
    digest = json.loads(endpoint.received[services.SINGLE_MESSAGES].body)
    assert (digest["type"], digest["data"]["counts"]) == ("digest", {"ready": 2})
    assert [(one["type"], one["batch_id"]) for one in digest["data"]["events"]] == [
        ("batch.ready", "b5"), ("batch.ready", "b6")
    ]  # fmt: skip


def test_two_workers_tell_it_once(nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset) -> None:
    run(dataset, dogs)
    deliver()
    be_quiet()

    def work() -> None:
        end_batches()
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (Event.objects.exclude(batch=None).count(), Delivery.objects.count()) == (1, 1)


def test_what_is_not_committed_is_done_again(
    nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset
) -> None:
    run(dataset, dogs)
    for step in (services.handle_events, end_batches):
        with transaction.atomic():  # a worker that is killed before its commit
            step()
            transaction.set_rollback(True)
        if step is services.handle_events:
            deliver()
            be_quiet()
    assert not Delivery.objects.exists()
    assert after_a_minute(wanting) == [("ready", "2 of 2 ready.")]


@pytest.mark.long
def test_workers_that_are_killed_are_followed_by_others(
    nightly: Batch, subscribe: Subscribe, endpoint: Endpoint, dataset: Dataset, dogs: Dataset, tmp_path: Path
) -> None:
    subscription = subscribe("webhook", address=endpoint.url, datasets="")
    endpoint.mode = "hang"
    env = {"WEBHOOK_PRIVATE_NETWORKS": "127.0.0.0/8"}
    with worker(tmp_path / "first", env) as first:
        run(dataset, dogs)
        wait_until(lambda: not Event.objects.filter(handled_at=None).exists(), seconds=60, what="no event was handled")
        kill(first)  # between the last run's end and that of the batch
    be_quiet()
    with worker(tmp_path / "second", env) as second:
        wait_until(lambda: len(endpoint.received) == 1, seconds=60, what="nothing was sent")
        kill(second)  # while it sends
    assert Delivery.objects.get().state == "waiting"
    endpoint.mode = 200
    Subscription.objects.filter(pk=subscription.pk).update(lease_until=timezone.now())  # as after a minute
    with worker(tmp_path / "third", env):
        wait_until(lambda: Delivery.objects.get().state == "sent", seconds=60, what="it was not sent again")
    keys = {received.headers["webhook-id"] for received in endpoint.received}
    assert (len(endpoint.received), len(keys)) == (2, 1)


def test_an_event_is_of_a_run_or_of_a_batch(
    nightly: Batch, wanting: Subscription, dataset: Dataset, dogs: Dataset
) -> None:
    run(dataset, dogs)
    after_a_minute(wanting)
    of_batch, of_run = Event.objects.exclude(batch=None), Event.objects.exclude(dataset=None)
    changes: list[tuple[Any, dict[str, Any]]] = [
        (of_batch, {"dataset": dataset}), (of_batch, {"batch": None}), (of_batch, {"run": 1}),
        (of_run, {"batch": nightly}), (of_run, {"dataset": None}), (of_run, {"run": None}),
    ]  # fmt: skip
    for events, values in changes:
        with pytest.raises(IntegrityError, match="event_of_run_or_batch"), transaction.atomic():
            events.update(**values)
    again = of_batch.get()
    again.pk = None
    again._state.adding = True
    with pytest.raises(IntegrityError), transaction.atomic():
        again.save(force_insert=True)
    nightly.delete()
    assert not of_batch.exists()
