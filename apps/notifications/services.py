"""The verbs: handle events, send what is due, subscribe. Workers call the first two again and again."""

from __future__ import annotations

import base64
import secrets
import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import DateTimeField, Expression, ExpressionWrapper, Q, Value
from django.db.models.functions import Now
from django.utils import timezone

from apps.batches.services import schedule_end_checks
from apps.core.sql import delete_some
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.progress.events import EventKind

from . import channels
from .messages import Message, digest_of, message_of, summary_of, test_message
from .models import Delivery, DeliveryQuerySet, Event, Subscription

EVENTS_AT_ONCE: Final = 200
# Longer than a message may take.
LEASE: Final = timedelta(seconds=60)
# A message that was not sent is tried again after these seconds, doubled each time up to an hour, for a day.
FIRST_RETRY: Final = 5.0
LONGEST_RETRY: Final = 3600.0
TRY_FOR: Final = timedelta(days=1)
# More messages than this in a minute become a digest, once the minute is over.
SINGLE_MESSAGES: Final = 5
DIGEST_AFTER: Final = timedelta(seconds=60)

_ENDS: Final = (EventKind.READY, EventKind.FAILED, EventKind.CANCELLED)


def handle_events() -> int:
    """Create the deliveries of new events, and note whose batches may have ended. Returns how many events there were.

    Any number of workers may do it at once: an event is handled in the transaction that makes its deliveries.
    """
    if not Event.objects.filter(handled_at=None).exists():
        return 0  # without a transaction, which would lock SQLite
    with transaction.atomic():
        events = list(
            Event.objects.filter(handled_at=None)
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("dataset")
            .order_by("pk")[:EVENTS_AT_ONCE]
        )
        if not events:
            return 0
        now = timezone.now()
        deliveries = [
            Delivery(subscription=subscription, event=event, next_at=now)
            for subscription in Subscription.objects.filter(is_active=True).select_related("user")
            for event in _wanted(subscription, events)
        ]
        Delivery.objects.bulk_create(deliveries, batch_size=500, ignore_conflicts=True)
        schedule_end_checks({event.dataset_id for event in events if event.dataset_id and event.kind in _ENDS})
        Event.objects.filter(pk__in=[event.pk for event in events]).update(handled_at=now)
        return len(events)


def _wanted(subscription: Subscription, events: list[Event]) -> list[Event]:
    """Return the events of datasets that the subscriber may see, and wants to be told of."""
    matching = [
        event for event in events if event.kind in subscription.events and subscription.is_of_dataset(event.subject_id)
    ]
    if subscription.user is not None and matching:
        if not subscription.user.is_active:
            return []
        among = Dataset.objects.filter(pk__in={event.dataset_id for event in matching})
        visible = set(Caller(subscription.user).visible(among).values_list("pk", flat=True))
        matching = [event for event in matching if event.dataset_id in visible]
    return [event for event in matching if event.kind != EventKind.FAILURES or _crosses_threshold(subscription, event)]


def _crosses_threshold(subscription: Subscription, event: Event) -> bool:
    """Whether this is the first event of its run above the subscriber's share of failed items."""
    if event.failed_percent <= subscription.failures_over:
        return False
    earlier = Event.objects.filter(
        dataset=event.dataset_id, run=event.run, kind=EventKind.FAILURES, pk__lt=event.pk,
        failed_percent__gt=subscription.failures_over,
    )  # fmt: skip
    return not earlier.exists()


def due_subscriptions() -> list[int]:
    """Return the row ids of subscriptions that have something to send now, and that no worker sends for."""
    now = timezone.now()
    free = Q(lease_token="") | Q(lease_until__lt=Now())
    waiting = Delivery.objects.waiting().filter(next_at__lte=now)
    return list(
        Subscription.objects.filter(free, pk__in=waiting.values("subscription")).values_list("pk", flat=True)[:100]
    )


def send_due(subscription_pk: int) -> int:
    """Send what is due for a subscription, in order, under a lease. Returns how many deliveries were settled.

    Where a message cannot be sent now, those behind it wait for it. A worker that is killed between sending and writing
    so lets its message be sent again, with the same key.
    """
    token = uuid.uuid4().hex
    free = Q(lease_token="") | Q(lease_until__lt=Now())
    mine = Subscription.objects.filter(pk=subscription_pk, lease_token=token)
    if not Subscription.objects.filter(free, pk=subscription_pk).update(lease_token=token, lease_until=_lease_end()):
        return 0
    settled = 0
    try:
        while delivery := _next(Subscription.objects.select_related("user").get(pk=subscription_pk)):
            if not mine.update(lease_until=_lease_end()):
                break  # another worker took it: this one stood still
            if not (count := _send(delivery, token)):
                break
            settled += count
    finally:
        mine.update(lease_token="", lease_until=None)
    return settled


def _lease_end() -> Expression:
    return ExpressionWrapper(Now() + Value(LEASE), output_field=DateTimeField())


def _next(subscription: Subscription) -> Delivery | None:
    """Return the delivery to be sent next, or the first of a digest; None where all have to wait.

    A message of the test button never waits. The contents of a digest are stored before it is first sent, so every
    further attempt sends the same message with the same key.
    """
    waiting = subscription.deliveries.waiting().select_related("event__dataset", "event__batch").order_by("pk")
    first = waiting.filter(event=None).first() or waiting.first()
    now = timezone.now()
    if first is None:
        return None
    first.subscription = subscription
    if first.digest is None and first.next_at <= now:
        if first.attempts or first.event is None or len(_recent(subscription, now)) < SINGLE_MESSAGES:
            return first
        first.digest, first.next_at = first.pk, first.created_at + DIGEST_AFTER
        _gather(waiting, first)
    elif first.digest is not None and not first.attempts and first.next_at > now:
        _gather(waiting, first)
    if first.next_at > now:
        # What follows waits for it, so workers need not look before then.
        waiting.filter(event__isnull=False, next_at__lt=first.next_at).order_by().update(next_at=first.next_at)
        return None
    return first


def _gather(waiting: DeliveryQuerySet, first: Delivery) -> None:
    """Add the deliveries that wait, however many, to the digest that begins with ``first``."""
    alone = waiting.filter(event__isnull=False, digest=None)
    alone.order_by().update(digest=first.digest, next_at=first.next_at)


def _recent(subscription: Subscription, now: datetime) -> list[str]:
    return [at for at in subscription.sent_at if now - datetime.fromisoformat(at) < DIGEST_AFTER]


def _send(first: Delivery, token: str) -> int:
    """Send a delivery, or the digest that it begins, and write what came of it. Returns how many are settled."""
    subscription = first.subscription
    rows = Delivery.objects.waiting().filter(subscription=subscription)
    rows = rows.filter(pk=first.pk) if first.digest is None else rows.filter(digest=first.digest)
    reason, is_final = "", False
    try:
        channels.send(subscription, _message(first, rows))
    except channels.NotSent as failure:
        reason, is_final = str(failure), failure.is_final
    now = timezone.now()
    with transaction.atomic():
        if not Subscription.objects.select_for_update(no_key=True).filter(pk=subscription.pk, lease_token=token):
            return 0  # it took longer than the lease, and another worker sends now
        if not reason:
            settled = rows.update(state=Delivery.State.SENT, sent_at=Now(), reason="")
            recent = [*_recent(subscription, now), now.isoformat()]
            Subscription.objects.filter(pk=subscription.pk).update(sent_at=recent[-SINGLE_MESSAGES:])
            return settled
        if is_final or first.event is None or now - first.created_at >= TRY_FOR:
            return rows.update(state=Delivery.State.UNDELIVERED, reason=reason, attempts=first.attempts + 1)
        pause = min(FIRST_RETRY * 2 ** min(first.attempts, 20), LONGEST_RETRY)
        rows.update(attempts=first.attempts + 1, reason=reason, next_at=now + timedelta(seconds=pause))
        return 0


def _message(first: Delivery, rows: DeliveryQuerySet) -> Message:
    """Return the message of a delivery. ``rows``: those that are told in it."""
    if first.event is None:
        return test_message(f"test-{first.pk}", first.created_at.isoformat())
    if first.digest is not None:
        key = f"digest-{first.subscription_id}-{first.digest}"
        summary = summary_of(Event.objects.filter(pk__in=rows.values("event")))
        return digest_of(summary, key) if summary.total > 1 else message_of(first.event, key)
    return message_of(first.event, f"{first.event.key}-{first.subscription_id}")


# --- Subscriptions ----------------------------------------------------------------------------------------------------


def new_secret() -> str:
    """Return a secret in the form of Standard Webhooks."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def subscribe(subscription: Subscription) -> str:
    """Save a new subscription. Returns the secret that signs its requests, which is shown once; empty for all others.

    Raises `ValidationError`.
    """
    if subscription.channel == Subscription.Channel.WEBHOOK:
        subscription.secret = new_secret()
    subscription.full_clean()
    subscription.save()
    return subscription.secret


def send_test(subscription: Subscription) -> Delivery:
    """Queue a message that shows whether the channel works. A worker sends it, once."""
    return Delivery.objects.create(subscription=subscription, next_at=timezone.now())


def prune_notifications(before: datetime) -> int:
    """Remove some events that were handled before then, and their deliveries. Returns how many rows; 0: none is left.

    What still waits to be sent stays.
    """
    settled = Delivery.objects.exclude(state=Delivery.State.WAITING).filter(created_at__lt=before)
    events = Event.objects.filter(handled_at__lt=before).exclude(deliveries__state=Delivery.State.WAITING)
    return delete_some(settled, events)
