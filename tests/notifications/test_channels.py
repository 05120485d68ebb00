"""Messages arrive over each channel, and what goes wrong is told, tried again or given up."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from apps.datasets.models import Dataset
from apps.notifications import allowed_addresses, channels, services
from apps.notifications.models import Delivery, Subscription
from apps.progress.models import Run
from tests.progress.helpers import say

from .conftest import Endpoint, Mailbox, Subscribe, deliver

pytestmark = pytest.mark.django_db(transaction=True)


def fail(dataset: Dataset, error: str = "disk full") -> Run:
    say(dataset, state="indexing", current=3, total=4)
    say(dataset, state="error", error=error)
    return Run.objects.latest("pk")


def test_a_webhook_is_signed_as_the_standard_says(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset, settings: Any
) -> None:
    settings.SITE_URL = "https://progress.example.org"
    subscription = subscribe("webhook", address=f"{endpoint.url}/hook?x=1")
    fail(dataset)
    assert deliver(subscription) == 1
    [received] = endpoint.received
    assert received.path == "/hook?x=1"
    told = Webhook(subscription.secret).verify(received.body, received.headers)  # raises if it is not
    assert (told["type"], told["data"]["dataset_id"], told["data"]["run"]) == ("dataset.failed", "cats", 1)
    assert told["data"]["link"] == "https://progress.example.org/datasets/cats/"
    assert told["data"]["progress"]["error"] == "disk full"
    with pytest.raises(Exception, match="signature"):
        Webhook(services.new_secret()).verify(received.body, received.headers)
    assert deliver(subscription) == 0
    assert len(endpoint.received) == 1


def test_an_email_arrives(mail: list[EmailMessage], subscribe: Subscribe, dataset: Dataset) -> None:
    subscription = subscribe("email")
    fail(dataset)
    assert deliver(subscription) == 1
    [message] = mail
    assert (message["To"], message["Subject"]) == ("ada@example.org", "[Dataset Progress] cats failed")
    assert "disk full" in str(message.get_payload())
    assert message["Message-ID"].startswith("<")


@pytest.mark.parametrize("answer", ["451 Try again", "550 No", ""])
def test_a_mail_server_that_refuses_or_is_too_slow_is_tried_again(
    mail: Mailbox, subscribe: Subscribe, dataset: Dataset, answer: str, settings: Any
) -> None:
    settings.MAILERS["default"]["OPTIONS"]["timeout"] = 0.5
    subscription = subscribe("email")
    fail(dataset)
    mail.answer = answer
    assert deliver(subscription) == 0
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("waiting", 1)
    assert delivery.reason.startswith("The mail server cannot be reached, or refuses: ")
    mail.answer = "250 OK"
    Delivery.objects.update(next_at=timezone.now())
    assert deliver(subscription) == 1
    assert len(mail) == 1


def test_a_recipient_that_is_refused_is_given_up(mail: Mailbox, subscribe: Subscribe, dataset: Dataset) -> None:
    subscription = subscribe("email", address="nobody@example.org")
    fail(dataset)
    assert deliver(subscription) == 1
    assert Delivery.objects.values_list("state", "reason").get() == ("failed", "The mail server refuses the recipient.")
    assert not mail


def test_a_chat_service_is_told(endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset) -> None:
    address = endpoint.url.replace("http://", "ntfy://") + "/topic"
    subscription = subscribe("chat", address=address)
    fail(dataset)
    assert deliver(subscription) == 1
    [received] = endpoint.received
    assert "disk full" in received.body.decode()


@pytest.mark.parametrize("address", ["json://127.0.0.1/", "file:///etc/passwd", "mailto://a:b@c.example", "slack://"])
def test_other_services_of_apprise_are_refused(address: str) -> None:
    with pytest.raises(channels.NotSent):
        channels.chat_service(address)


@pytest.mark.parametrize(
    ("mode", "reason"), [(500, "It answers 500."), (400, "It answers 400."), ("hang", "It did not answer in time.")]
)
def test_what_does_not_answer_well_is_tried_again(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset, mode: Any, reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if mode == "hang":
        monkeypatch.setattr(channels, "READ_SECONDS", 0.2)
    subscription = subscribe("webhook", address=endpoint.url)
    fail(dataset)
    endpoint.mode = mode
    assert deliver(subscription) == 0
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.reason) == ("waiting", 1, reason)
    assert delivery.next_at > timezone.now()
    assert deliver(subscription) == 0  # not before its time
    Delivery.objects.update(next_at=timezone.now())
    endpoint.mode = 200
    assert deliver(subscription) == 1
    assert Delivery.objects.get().state == "sent"
    assert len({received.headers["webhook-id"] for received in endpoint.received}) == 1


def test_one_that_answers_byte_by_byte_is_cut_off(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "limited", lambda: allowed_addresses.limited(0.5))
    subscription = subscribe("webhook", address=endpoint.url)
    fail(dataset)
    endpoint.mode = "drip"
    assert deliver(subscription) == 0
    assert "cannot be reached" in Delivery.objects.get().reason


@pytest.mark.parametrize("mode", [410, "redirect"])
def test_what_will_never_take_it_is_given_up(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset, mode: Any
) -> None:
    subscription = subscribe("webhook", address=endpoint.url)
    endpoint.mode, endpoint.location = mode, f"{endpoint.url}/inward"
    fail(dataset)
    assert deliver(subscription) == 1
    assert Delivery.objects.get().state == "failed"
    assert len(endpoint.received) == 1  # a redirect is not followed


def test_after_a_day_it_is_undelivered_with_its_reason(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset
) -> None:
    subscription = subscribe("webhook", address=endpoint.url)
    endpoint.mode = 503
    fail(dataset)
    deliver(subscription)
    day_ago = timezone.now() - timedelta(days=1, seconds=1)
    Delivery.objects.update(next_at=day_ago, created_at=day_ago)
    assert deliver(subscription) == 1
    assert Delivery.objects.values_list("state", "reason").get() == ("failed", "It answers 503.")


def test_a_story_is_told_in_order_although_its_beginning_waits(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset
) -> None:
    subscription = subscribe("webhook", address=endpoint.url)
    endpoint.mode = 503
    fail(dataset)
    deliver(subscription)
    endpoint.mode = 200
    say(dataset, state="indexing", current=1)
    say(dataset, state="ready")
    assert deliver(subscription) == 0
    Delivery.objects.update(next_at=timezone.now())
    assert deliver(subscription) == 2
    told = [json.loads(received.body)["type"] for received in endpoint.received[1:]]
    assert told == ["dataset.failed", "dataset.ready"]


def test_workers_do_not_look_at_what_waits_behind_another_message(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset
) -> None:
    subscription = subscribe("webhook", address=endpoint.url)
    endpoint.mode = 503
    fail(dataset)
    deliver(subscription)
    fail(dataset)
    services.handle_events()
    assert services.due_subscriptions() == [subscription.pk]
    deliver(subscription)
    assert services.due_subscriptions() == []
    Delivery.objects.update(next_at=timezone.now())
    assert services.due_subscriptions() == [subscription.pk]


def test_no_secret_is_logged(
    endpoint: Endpoint, loopback: None, subscribe: Subscribe, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="apps")
    subscriptions = [
        subscribe("webhook", address=f"{endpoint.url}/top-secret"),
        subscribe("chat", address=f"{endpoint.url.replace('http://', 'ntfy://')}/top-secret"),
    ]
    endpoint.mode = 500
    fail(dataset)
    deliver(*subscriptions)
    reasons = " ".join(Delivery.objects.values_list("reason", flat=True))
    assert "top-secret" not in caplog.text + reasons
    for name in ("apprise", "urllib3"):
        assert not logging.getLogger(name).isEnabledFor(logging.WARNING)


def test_a_test_message_says_what_came_of_it(endpoint: Endpoint, loopback: None, subscribe: Subscribe) -> None:
    subscription = subscribe("webhook", address=endpoint.url)
    for status, state in ((200, "sent"), (500, "failed")):  # a test is tried once
        endpoint.mode = status
        delivery = services.send_test(subscription)
        deliver(subscription)
        delivery.refresh_from_db()
        assert delivery.state == state
    assert isinstance(subscription, Subscription)
