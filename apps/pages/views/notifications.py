"""Of what the signed-in user is told, and where; and what an open page asks for."""

from __future__ import annotations

from typing import Final, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.datasets.access.rules import Caller
from apps.notifications.messages import message_of
from apps.notifications.models import Delivery, Subscription
from apps.notifications.services import send_test, subscribe
from apps.pages.notification_form import SubscriptionForm

MOST_SUBSCRIPTIONS: Final = 50
SHOWN: Final = 20


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """Show the user's subscriptions and the form of a new one; on a valid POST, make it."""
    user = cast("User", request.user)  # the decorator lets no anonymous user in
    subscriptions = Subscription.objects.filter(user=user)
    form = SubscriptionForm(request.POST if request.method == "POST" else None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        if subscriptions.count() >= MOST_SUBSCRIPTIONS:
            form.add_error(None, f"A user may have {MOST_SUBSCRIPTIONS} of them. Delete one first.")
        else:
            secret = subscribe(Subscription(user=user, **form.cleaned_data))
            form = SubscriptionForm()
    deliveries = Delivery.objects.filter(subscription__user=user).select_related("subscription", "event__dataset")
    context = {
        "form": form,
        "subscriptions": list(subscriptions),
        "deliveries": list(deliveries.order_by("-pk")[:SHOWN]),
        "secret": secret,
    }
    return render(request, "pages/notifications.html", context, status=422 if form.is_bound else 200)


@require_POST
@login_required
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """Queue a test message. The list of deliveries says what came of it."""
    send_test(_own(request, pk))
    messages.success(request, "A test is on its way. What came of it stands below in a moment.")
    return redirect("notifications")


@require_POST
@login_required
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete one of the user's own subscriptions, with what was to be sent for it."""
    subscription = _own(request, pk)
    subscription.delete()
    messages.success(request, f"Deleted {subscription}.")
    return redirect("notifications")


def _own(request: HttpRequest, pk: int) -> Subscription:
    return get_object_or_404(Subscription, user=cast("User", request.user), pk=pk)


@never_cache
@require_safe
@login_required
def recent(request: HttpRequest) -> HttpResponse:
    """Answer what to tell the user on an open page: what came after the delivery numbered ``after``, as JSON.

    Without ``after`` only its ``last`` number, to go on from. ``active``: whether anything is ever going to come.
    """
    user = cast("User", request.user)
    pages = Delivery.objects.filter(
        subscription__user=user, subscription__channel=Subscription.Channel.PAGE, state=Delivery.State.SENT
    )
    after = request.GET.get("after", "")
    if not after.isdecimal() or len(after) > 18:
        last = pages.order_by("-pk").values_list("pk", flat=True).first() or 0
        active = Subscription.objects.filter(user=user, channel=Subscription.Channel.PAGE, is_active=True).exists()
        return JsonResponse({"active": active, "last": last, "notices": []})
    found = list(pages.filter(pk__gt=int(after)).select_related("event__dataset").order_by("pk")[:SHOWN])
    datasets = {one.event.dataset_id for one in found if one.event}
    visible = set(Caller(user).visible().filter(pk__in=datasets).values_list("pk", flat=True)) if datasets else set()
    notices = {}
    for delivery in found:
        if delivery.event is None:
            notices["test"] = {"title": "Test", "text": "This channel works.", "link": ""}
        elif delivery.event.dataset_id in visible:
            # Two subscriptions may want the same event.
            said = message_of(delivery.event, delivery.event.dataset.dataset_id, delivery.event.key)
            link = delivery.event.dataset.get_absolute_url()
            notices[said.key] = {"title": said.title, "text": said.text, "link": link}
    last = found[-1].pk if found else int(after)
    told = [{"key": key, **notice} for key, notice in notices.items()]
    return JsonResponse({"active": True, "last": last, "notices": told})
