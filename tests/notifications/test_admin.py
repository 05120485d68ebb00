"""The admin has the site's own subscriptions, and shows no address and no secret."""

from __future__ import annotations

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


def test_what_was_sent_is_listed(admin_client: Client, dataset: Dataset, subscribe: Subscribe, ada: User) -> None:
    subscription = subscribe("page")
    say(dataset, state="indexing", current=1)
    say(dataset, state="ready")
    deliver(subscription)
    assert "Sent" in admin_client.get(address(Delivery, "changelist")).text
    assert "cats" in admin_client.get(address(Event, "changelist")).text
    assert admin_client.get(address(Delivery, "add")).status_code == 403
