"""What open pages of a user are told. They ask again and again for what was sent since they asked before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now

from apps.batches.access import visible_batches
from apps.datasets.access.rules import Caller

from .messages import Message, digest_of, message_of, summary_of, test_message
from .models import Delivery, DeliveryQuerySet, Event, Subscription
from .services import SINGLE_MESSAGES

# A transaction that writes that a message was sent has ended by then, so nothing turns up among what was told already.
SETTLED_AFTER: Final = timedelta(seconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Told:
    """What open pages are told: notices with the address that each leads to, and the moment up to which they are those.

    ``is_active``: whether anything is ever going to come. ``until``: microseconds since 1970, by the database's clock.
    """

    is_active: bool
    until: int
    notices: list[tuple[Message, str]]


def told_on_pages(user: User, after: int | None) -> Told:
    """Return what open pages of a user are told that was sent since ``after``, an earlier `Told.until`; None: nothing.

    More than `SINGLE_MESSAGES` become a digest. At most six queries, however many there are.
    """
    own = Subscription.objects.filter(user=user, channel=Subscription.Channel.PAGE).annotate(moment=Now())
    rows = list(own.values_list("pk", "is_active", "moment"))
    if not rows:
        return Told(False, 0, [])
    until = rows[0][2] - SETTLED_AFTER
    is_active, number = any(active for _, active, _ in rows), round((until - EPOCH) / timedelta(microseconds=1))
    if after is None:
        return Told(is_active, number, [])
    sent = Delivery.objects.filter(
        subscription__in=[pk for pk, *_ in rows], state=Delivery.State.SENT,
        sent_at__gt=EPOCH + timedelta(microseconds=after), sent_at__lte=until,
    )  # fmt: skip
    notices = _notices(user, sent, f"digest-{after}-{number}") if sent.exists() else []
    return Told(True, number, notices)


def _notices(user: User, deliveries: DeliveryQuerySet, key: str) -> list[tuple[Message, str]]:
    """Return what is said of deliveries, of what the user may still see. Two may be of the same event."""
    caller = Caller(user)
    visible = Q(dataset__in=caller.visible().values("pk")) | Q(batch__in=visible_batches(caller).values("pk"))
    shown = Event.objects.filter(visible, pk__in=deliveries.values("event"))
    tests = [(test_message(f"test-{one.pk}", ""), "") for one in deliveries.filter(event=None).order_by("-pk")[:1]]
    some = list(shown.select_related("dataset", "batch").order_by("pk")[: SINGLE_MESSAGES + 1])
    if len(some) > SINGLE_MESSAGES:
        return [*tests, (digest_of(summary_of(shown), key), "/")]
    return [*tests, *((message_of(event, event.key), event.subject.get_absolute_url()) for event in some)]
