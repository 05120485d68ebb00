"""A storm of events is one message, however often workers look for what to send, and whoever is killed in between."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.notifications import channels, services
from apps.notifications.messages import LISTED
from apps.notifications.models import Delivery, Event, Subscription
from tests.progress.helpers import say

from .conftest import Endpoint, Subscribe, deliver

pytestmark = pytest.mark.django_db(transaction=True)

SINGLE = services.SINGLE_MESSAGES


class Killed(BaseException):
    """What ends a worker between two of its statements."""


def fail(dataset: Dataset, times: int = 1) -> None:
    for _ in range(times):
        say(dataset, state="indexing", current=3, total=4)
        say(dataset, state="error", error="disk full")


def pass_time(seconds: float) -> None:
    """Let time go by for all that waits and was sent."""
    ago = timedelta(seconds=seconds)
    Delivery.objects.update(created_at=F("created_at") - ago, next_at=F("next_at") - ago)
    for subscription in Subscription.objects.all():
        subscription.sent_at = [(datetime.fromisoformat(at) - ago).isoformat() for at in subscription.sent_at]
        subscription.save(update_fields=["sent_at"])


def told(endpoint: Endpoint) -> list[tuple[str, int]]:
    """Return the type of each message, and how many events it tells."""
    bodies = [json.loads(received.body) for received in endpoint.received]
    return [(body["type"], sum(body["data"].get("counts", {"": 1}).values())) for body in bodies]


@pytest.fixture
def webhook(endpoint: Endpoint, loopback: None, subscribe: Subscribe) -> Subscription:
    return subscribe("webhook", address=endpoint.url)


def test_a_storm_is_one_digest_however_often_workers_look(
    endpoint: Endpoint, webhook: Subscription, dataset: Dataset
) -> None:
    for _ in range(10):
        fail(dataset, 6)
        deliver(webhook)
        pass_time(5)
    assert told(endpoint) == [("dataset.failed", 1)] * SINGLE
    pass_time(15)  # the single messages are more than a minute old by then
    assert deliver(webhook) == 60 - SINGLE
    assert told(endpoint)[SINGLE:] == [("digest", 60 - SINGLE)]
    assert not Delivery.objects.exclude(state="sent").exists()
    fail(dataset)
    assert deliver(webhook) == 1  # when it is over, what follows is told at once
    assert told(endpoint)[-1] == ("dataset.failed", 1)


def test_a_storm_is_one_email(mail: list[EmailMessage], subscribe: Subscribe, dataset: Dataset) -> None:
    subscription = subscribe("email")
    for _ in range(3):
        fail(dataset, 10)
        deliver(subscription)
        pass_time(21)
    deliver(subscription)
    assert [message["Subject"] for message in mail[SINGLE:]] == ["[Dataset Progress] 25 events: 25 failed"]


def test_a_storm_of_any_size_is_one_digest_and_takes_as_many_queries(
    endpoint: Endpoint, webhook: Subscription, dataset: Dataset
) -> None:
    fail(dataset)
    deliver(webhook)
    template = Event.objects.get()
    numbers = range(1, 3001)
    storm = Event.objects.bulk_create([copy_of(template, number) for number in numbers], batch_size=500)
    now = timezone.now()
    waiting = [Delivery(subscription=webhook, event=event, next_at=now) for event in storm]
    Delivery.objects.bulk_create(waiting, batch_size=500)
    deliver(webhook)
    pass_time(61)
    with CaptureQueriesContext(connection) as queries:
        assert services.send_due(webhook.pk) == len(numbers) - SINGLE + 1
    assert len(queries) < 20
    assert told(endpoint)[SINGLE:] == [("digest", len(numbers) - SINGLE + 1)]
    assert len(endpoint.received[-1].body) < 20_000
    body = json.loads(endpoint.received[-1].body)
    assert body["data"]["events"][0]["run"] == template.run
    assert len(body["data"]["events"]) == LISTED
    assert body["timestamp"] == storm[-1].at.isoformat()
    assert not Delivery.objects.exclude(state="sent").exists()


def copy_of(event: Event, number: int) -> Event:
    """An event like ``event``, some seconds later."""
    copy = Event.objects.get(pk=event.pk)
    copy.pk, copy.version, copy.at = None, event.version + number, event.at + timedelta(milliseconds=number)
    return copy


def test_a_digest_that_is_not_taken_is_sent_again_as_it_was(
    endpoint: Endpoint, webhook: Subscription, dataset: Dataset
) -> None:
    fail(dataset, 20)
    deliver(webhook)
    pass_time(61)
    endpoint.mode = 503
    assert deliver(webhook) == 0
    assert set(Delivery.objects.waiting().values_list("attempts", "reason")) == {(1, "It answers 503.")}
    fail(dataset, 3)  # not told in it: it may have arrived
    endpoint.mode = 200
    pass_time(6)
    deliver(webhook)
    assert told(endpoint)[SINGLE:] == [("digest", 15), ("digest", 15), *[("dataset.failed", 1)] * 3]
    first, second = (received.headers["webhook-id"] for received in endpoint.received[SINGLE : SINGLE + 2])
    assert first == second


def test_a_digest_whose_worker_is_killed_is_sent_again_with_its_key(
    endpoint: Endpoint, webhook: Subscription, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(dataset, 20)
    deliver(webhook)
    pass_time(61)

    def send_and_die(*message: Any) -> None:
        send(*message)
        raise Killed

    send = channels.send
    with monkeypatch.context() as patch:
        patch.setattr(channels, "send", send_and_die)
        with pytest.raises(Killed):
            deliver(webhook)
    fail(dataset)
    deliver(webhook)
    assert told(endpoint)[SINGLE:] == [("digest", 15), ("digest", 15), ("dataset.failed", 1)]
    first, second = (received.headers["webhook-id"] for received in endpoint.received[SINGLE : SINGLE + 2])
    assert first == second


def test_one_message_over_is_told_in_its_own_words(endpoint: Endpoint, webhook: Subscription, dataset: Dataset) -> None:
    fail(dataset, SINGLE + 1)
    deliver(webhook)
    pass_time(61)
    deliver(webhook)
    assert told(endpoint) == [("dataset.failed", 1)] * (SINGLE + 1)


def test_a_test_message_waits_for_nothing(endpoint: Endpoint, webhook: Subscription, dataset: Dataset) -> None:
    endpoint.mode = 503
    fail(dataset)
    assert deliver(webhook) == 0
    endpoint.mode = 200
    services.send_test(webhook)
    assert deliver(webhook) == 1
    assert told(endpoint)[-1][0] == "test"
    assert Delivery.objects.waiting().count() == 1
