"""What open pages of a user are told. They ask again and again for what was sent since they asked before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db.models.functions import Now

from apps.batches.access import visible_batches
from apps.batches.models import Batch
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset

from .messages import Message, digest_of, message_of, test_message
from .models import Delivery, Event, Subscription
from .services import MOST_IN_DIGEST, SINGLE_MESSAGES

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

    More than `SINGLE_MESSAGES` become a digest. At most four queries.
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
    found = list(sent.select_related("event__dataset", "event__batch").order_by("sent_at", "pk")[:MOST_IN_DIGEST])
    return Told(True, number, _notices(user, found, f"digest-{after}-{number}"))


def _notices(user: User, deliveries: list[Delivery], key: str) -> list[tuple[Message, str]]:
    """Return what is said of deliveries, of what the user may still see. Two may be of the same event."""
    events = {one.event.pk: one.event for one in deliveries if one.event}
    visible = _visible(Caller(user), events.values())
    shown = [event for event in events.values() if event.subject in visible]
    tests = [(test_message(f"test-{one.pk}", ""), "") for one in deliveries if one.event is None][-1:]
    if len(shown) > SINGLE_MESSAGES:
        return [*tests, (digest_of(shown, key), "/")]
    return [*tests, *((message_of(event, event.key), event.subject.get_absolute_url()) for event in shown)]


def _visible(caller: Caller, events: Collection[Event]) -> set[Dataset | Batch]:
    """Return the datasets and batches of events that the caller may see. At most two queries."""
    datasets = {event.dataset_id for event in events if event.dataset_id}
    batches = {event.batch_id for event in events if event.batch_id}
    seen: set[Dataset | Batch] = set(caller.visible().filter(pk__in=datasets)) if datasets else set()
    return seen | set(visible_batches(caller).filter(pk__in=batches)) if batches else seen
