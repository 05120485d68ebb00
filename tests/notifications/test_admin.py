"""The admin has the site's own subscriptions, and shows no address and no secret."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.datasets.models import Dataset
from apps.notifications.models import Delivery, Event, Subscription
from tests.progress.helpers import say

from .conftest import Subscribe, deliver

HOOK = {
    "name": "team", "channel": "webhook", "address": "https://hooks.example.org/top-secret", "datasets": "*",
    "events": ["failed"], "failures_over": 0, "is_active": "on",
}  # fmt: skip


def address(model: type[Subscription | Delivery | Event], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_{page}", args=args)


def test_a_subscription_of_the_site_is_made_and_changed(admin_client: Client, subscribe: Subscribe) -> None:
    subscribe("page", name="of-a-user")
    made = admin_client.post(address(Subscription, "add"), HOOK, follow=True)
    subscription = Subscription.objects.get(user=None)
    assert subscription.secret in made.text
    changed = address(Subscription, "change", subscription.pk)
    assert admin_client.post(changed, {**HOOK, "address": "", "name": "chat"}).status_code == 302
    subscription.refresh_from_db()
    assert (subscription.name, subscription.address) == ("chat", HOOK["address"])
    for page in (changed, address(Subscription, "changelist")):
        text = admin_client.get(page).text
        assert "top-secret" not in text
        assert subscription.secret not in text
        assert "of-a-user" not in text
    admin_client.post(
        address(Subscription, "changelist"), {"action": "send_tests", "_selected_action": [subscription.pk]}
    )
    assert Delivery.objects.get().event is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": ""}, {"address": "ftp://example.org/hook"}, {"channel": "chat", "address": "foo://example.org"},
        {"channel": "email", "address": ""}, {"channel": "email", "address": "nobody"}, {"channel": "page"},
    ],
    ids=str,
)  # fmt: skip
def test_what_can_never_be_sent_is_refused(admin_client: Client, wrong: dict[str, str]) -> None:
    answer = admin_client.post(address(Subscription, "add"), {**HOOK, **wrong})
    assert answer.status_code == 200
    assert "channel" in answer.context["adminform"].form.errors or "address" in answer.context["adminform"].form.errors
    assert not Subscription.objects.exists()


def test_the_channel_stays(admin_client: Client) -> None:
    mail = {**HOOK, "channel": "email", "address": "ops@example.org"}
    admin_client.post(address(Subscription, "add"), mail)
    subscription = Subscription.objects.get()
    changed = address(Subscription, "change", subscription.pk)
    assert admin_client.post(changed, {**mail, "channel": "webhook", "address": ""}).status_code == 302
    subscription.refresh_from_db()
    assert (subscription.channel, subscription.address) == ("email", "ops@example.org")


def test_what_was_sent_is_listed(admin_client: Client, dataset: Dataset, subscribe: Subscribe, ada: User) -> None:
    subscription = subscribe("page")
    say(dataset, state="indexing", current=1)
    say(dataset, state="ready")
    deliver(subscription)
    assert "Sent" in admin_client.get(address(Delivery, "changelist")).text
    assert "cats" in admin_client.get(address(Event, "changelist")).text
    assert admin_client.get(address(Delivery, "add")).status_code == 403
