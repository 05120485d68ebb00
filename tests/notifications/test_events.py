"""Each event is told once to each who wants it and may see it, whoever is killed in between."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.notifications import services
from apps.notifications.models import Delivery, Event, Subscription
from apps.progress import services as progress
from tests.processes import kill, worker
from tests.progress.helpers import say
from tests.services import wait_until

from .conftest import Endpoint, Subscribe, deliver

pytestmark = pytest.mark.django_db(transaction=True)


def ready(dataset: Dataset) -> None:
    say(dataset, state="indexing", current=1, total=2)
    say(dataset, state="ready")


def test_an_event_is_written_with_its_change_and_goes_with_it(dataset: Dataset) -> None:
    with transaction.atomic():
        ready(dataset)
        transaction.set_rollback(True)
    assert not Event.objects.exists()
    ready(dataset)
    event = Event.objects.get()
    assert (event.kind, event.run, event.progress["state"]) == ("ready", 1, "ready")


def test_only_what_is_wanted_and_may_be_seen_is_told(dataset: Dataset, subscribe: Subscribe, ada: User) -> None:
    bob, gone = User.objects.create_user("bob"), User.objects.create_user("gone", is_active=False)
    wanting = {
        "all": subscribe("page"),
        "pattern": subscribe("page", datasets="ca*"),
        "site": subscribe("page", user=None),
    }
    subscribe("page", datasets="dogs,c-*")  # another dataset
    subscribe("page", events=["failed"])
    subscribe("page", user=bob)  # who may not see it
    dataset.members.add(gone)
    subscribe("page", user=gone)
    subscribe("page", is_active=False)
    ready(dataset)
    deliver()
    assert set(Delivery.objects.values_list("subscription", flat=True)) == {one.pk for one in wanting.values()}


def test_failed_items_are_told_once_a_run_from_the_chosen_percent_on(dataset: Dataset, subscribe: Subscribe) -> None:
    subscription = subscribe("page", events=["failures"], failures_over=10)
    for run in (1, 2):
        for failed in range(0, 41, 4):
            say(dataset, state="indexing", current=90, total=100, failed=failed)
            deliver(subscription)
        say(dataset, state="ready")
        assert Delivery.objects.count() == run
    assert list(Event.objects.filter(deliveries__isnull=False).values_list("failed_percent", flat=True)) == [12, 12]


def test_two_workers_make_each_delivery_once(dataset: Dataset, subscribe: Subscribe) -> None:
    subscribe("page")
    for _ in range(20):
        ready(dataset)

    def work() -> None:
        while services.handle_events():
            pass
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Delivery.objects.count() == 20
    assert not Event.objects.filter(handled_at=None).exists()


def test_one_worker_at_a_time_sends_for_a_subscription(
    dataset: Dataset, subscribe: Subscribe, endpoint: Endpoint, loopback: None
) -> None:
    subscription = subscribe("webhook", address=endpoint.url)
    ready(dataset)
    services.handle_events()
    endpoint.mode = "slow"

    def work() -> None:
        services.send_due(subscription.pk)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(endpoint.received) == 1


@pytest.mark.long
def test_a_worker_that_is_killed_while_it_sends_is_followed_by_another(
    dataset: Dataset, subscribe: Subscribe, endpoint: Endpoint, tmp_path: Path
) -> None:
    subscription = subscribe("webhook", address=endpoint.url)
    endpoint.mode = "hang"
    env = {"WEBHOOK_PRIVATE_NETWORKS": "127.0.0.0/8"}
    with worker(tmp_path / "first", env) as first:
        ready(dataset)
        wait_until(lambda: len(endpoint.received) == 1, seconds=60, what="nothing was sent")
        kill(first)
    assert Delivery.objects.get().state == "waiting"
    endpoint.mode = 200
    Subscription.objects.filter(pk=subscription.pk).update(lease_until=timezone.now())  # as after a minute
    with worker(tmp_path / "second", env):
        wait_until(lambda: Delivery.objects.get().state == "sent", seconds=60, what="it was not sent again")
    keys = {received.headers["webhook-id"] for received in endpoint.received}
    assert (len(endpoint.received), len(keys)) == (2, 1)  # by which the receiver knows that it is the same


def test_what_was_sent_is_pruned_and_what_waits_is_kept(dataset: Dataset, subscribe: Subscribe) -> None:
    subscription = subscribe("page")
    ready(dataset)
    deliver(subscription)
    ready(dataset)
    deliver()
    while services.prune_notifications(timezone.now()):
        pass
    assert list(Delivery.objects.values_list("state", flat=True)) == ["waiting"]
    assert Event.objects.count() == 1


def test_a_deleted_dataset_takes_its_events_along(dataset: Dataset, subscribe: Subscribe) -> None:
    subscription = subscribe("page")
    ready(dataset)
    deliver(subscription)
    progress.close_for_removal(dataset.pk)
    while progress.remove_some_runs(dataset.pk):
        pass
    Dataset.with_deleted.filter(pk=dataset.pk).delete()
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    ("name", "model", "values"),
    [
        ("subscription_channel_known", Subscription, {"channel": "pigeon"}),
        ("subscription_percent_in_range", Subscription, {"failures_over": 100}),
        ("subscription_lease_has_an_end", Subscription, {"lease_token": "x"}),
        ("delivery_state_known", Delivery, {"state": "lost"}),
    ],
)
def test_a_row_cannot_be_changed_so(
    dataset: Dataset, subscribe: Subscribe, name: str, model: Any, values: dict[str, Any]
) -> None:
    services.send_test(subscribe("page"))
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        model.objects.update(**values)


def test_an_event_and_a_delivery_are_there_once(dataset: Dataset, subscribe: Subscribe) -> None:
    subscription = subscribe("page")
    ready(dataset)
    deliver(subscription)
    for row in (Event.objects.get(), Delivery.objects.get()):
        row.pk = None
        row._state.adding = True
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save(force_insert=True)
