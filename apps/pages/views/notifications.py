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

from apps.notifications.models import Delivery, Subscription
from apps.notifications.on_pages import told_on_pages
from apps.notifications.services import send_test, subscribe
from apps.pages.notification_form import SubscriptionForm

MOST_SUBSCRIPTIONS: Final = 50
SHOWN: Final = 20
MOST_DIGITS: Final = 17  # of microseconds since 1970


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
    deliveries = Delivery.objects.filter(subscription__user=user).select_related(
        "subscription", "event__dataset", "event__batch"
    )
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
    """Answer what to tell the user on an open page: what was sent since ``after``, which is the ``last`` of an earlier
    answer, as JSON.

    Without ``after`` only ``last``, to go on from. ``active``: whether anything is ever going to come.
    """
    after = request.GET.get("after", "")
    is_number = after.isascii() and after.isdecimal() and len(after) <= MOST_DIGITS
    told = told_on_pages(cast("User", request.user), int(after) if is_number else None)
    notices = [{"key": said.key, "title": said.title, "text": said.text, "link": link} for said, link in told.notices]
    return JsonResponse({"active": told.is_active, "last": told.until, "notices": notices})
