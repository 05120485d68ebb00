"""The end of a batch: told once, to each who wants it, in numbers of the datasets that they may see."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from apps.batches.access import members_of
from apps.batches.models import Batch
from apps.batches.progress import BatchFacts, BatchProgress, batch_progress
from apps.batches.selectors import batch_facts, due_end_checks, has_ended
from apps.batches.services import take_end_check
from apps.datasets.access.rules import Caller
from apps.datasets.models import Token
from apps.progress.events import EventKind
from apps.progress.transitions import State

from .models import Delivery, Event, Subscription

BATCHES_AT_ONCE: Final = 20


def end_batches() -> None:
    """Make the deliveries of batches that have ended. Any number of workers may do it at once.

    That a batch was looked at is written with what came of it, so a worker that is killed is followed by another.
    """
    for pk in due_end_checks(BATCHES_AT_ONCE):
        with transaction.atomic():
            batch = take_end_check(pk)
            if batch is not None and has_ended(batch):
                _tell(batch)


def _tell(batch: Batch) -> None:
    """Make an event for each view of the batch, and its deliveries. Those that are there already stay as they are."""
    wanting = [
        one
        for one in Subscription.objects.filter(is_active=True).select_related("user")
        if one.is_of_batch(batch.batch_id) and (one.user is None or one.user.is_active)
    ]
    if not wanting:
        return
    now = timezone.now()
    everything = batch_facts(Caller(None, Token(datasets="*")), batch, now)
    views: dict[int | None, Event | None] = {}
    deliveries = []
    for subscription in wanting:
        if subscription.user_id not in views:
            views[subscription.user_id] = _event_of(batch, _seen_by(subscription.user, batch, everything))
        event = views[subscription.user_id]
        if event is not None and event.kind in subscription.events:
            deliveries.append(Delivery(subscription=subscription, event=event, next_at=now))
    Delivery.objects.bulk_create(deliveries, batch_size=500, ignore_conflicts=True)


def _seen_by(user: User | None, batch: Batch, everything: BatchFacts) -> BatchFacts:
    """Return what a user sees of a batch. Without a user all of it."""
    if user is None:
        return everything
    visible = set(members_of(Caller(user), batch).values_list("pk", flat=True))
    return replace(everything, members=tuple(one for one in everything.members if one.dataset_pk in visible))


def _event_of(batch: Batch, facts: BatchFacts) -> Event | None:
    """Return the event of the end as it is seen so; None where nothing is seen."""
    if not facts.members:
        return None
    progress, now = batch_progress(facts), timezone.now()
    # One event for each end: the sum is another as soon as one of these datasets has run again, and for nothing else.
    runs = sum(one.run_pk for one in facts.members)
    event, _ = Event.objects.get_or_create(
        batch=batch, epoch=progress.epoch, version=runs, kind=_kind_of(progress),
        defaults={"at": progress.updated_at, "progress": progress.model_dump(mode="json"), "handled_at": now},
    )  # fmt: skip
    return event


def _kind_of(progress: BatchProgress) -> EventKind:
    if progress.state is State.READY:
        return EventKind.READY
    return EventKind.CANCELLED if progress.cancelled else EventKind.FAILED
