"""A user chooses to be told, and an open page says so when it happens."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, expect

from apps.datasets.models import Dataset
from apps.notifications import services
from apps.notifications.models import Delivery, Subscription
from tests.progress.helpers import say


def test_what_a_user_wants_to_be_told_appears_on_an_open_page(open_page: Callable[..., Page]) -> None:
    client = Client()
    client.force_login(User.objects.create_user("ada"))
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    page = open_page("/notifications/", sessionid=client.cookies["sessionid"].value)
    page.get_by_label("Name").fill("mine")
    with page.expect_response(lambda answer: "/notifications/recent/" in answer.url):
        page.get_by_role("button", name="Create notification").click()
    expect(page.get_by_text("On open pages of this site, and by the browser · *")).to_be_visible()
    say(dataset, state="indexing", current=1, total=2)
    say(dataset, state="error", error="disk full")
    services.handle_events()
    services.send_due(Delivery.objects.get().subscription_id)
    toast = page.locator("#toasts")
    expect(toast.get_by_role("link", name="cats failed")).to_be_visible(timeout=60_000)
    expect(toast).to_contain_text("disk full")
    toast.get_by_role("link", name="cats failed").click()
    page.wait_for_url("**/datasets/cats/")


# What the browser would show, and whether it was asked to, while the page is hidden.
BROWSER = """
window.shown = []; window.asked = 0;
Object.defineProperty(document, 'hidden', { get: () => true });
window.Notification = class extends EventTarget {
  static permission = 'default';
  static requestPermission() { window.asked += 1; this.permission = 'granted'; return Promise.resolve('granted'); }
  constructor(title, { body }) { super(); window.shown.push(`${title}: ${body}`); }
};
"""


def test_the_browser_is_asked_on_a_click_alone_and_tells_while_the_page_is_hidden(
    open_page: Callable[..., Page],
) -> None:
    user, client = User.objects.create_user("ada"), Client()
    client.force_login(user)
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    subscription = Subscription(user=user, channel="page", name="mine", events=["failed"])
    services.subscribe(subscription)
    page = open_page("/", sessionid=client.cookies["sessionid"].value)
    page.add_init_script(BROWSER)
    with page.expect_response(lambda answer: "/notifications/recent/" in answer.url):
        page.goto(page.url.rstrip("/") + "/notifications/")
    assert page.evaluate("window.asked") == 0
    page.locator("#ask-browser").click()
    assert page.evaluate("window.asked") == 1
    expect(page.locator("#ask-browser")).to_be_hidden()
    say(dataset, state="error", error="disk full")
    services.handle_events()
    services.send_due(subscription.pk)
    expect(page.locator("#toasts")).to_contain_text("disk full", timeout=60_000)
    [shown] = page.evaluate("window.shown")
    assert shown.startswith("cats failed: ")
    assert "disk full" in shown
