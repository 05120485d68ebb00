"""The groups of the list: what an operator looks at first. In Python for one dataset, and in SQL to count and to order.

Both say the same: a test compares them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db.models import (
    Case,
    Count,
    F,
    FloatField,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest
from django.db.models.lookups import LessThan

from apps.datasets.models import Dataset

from . import health, listening
from .models import Run, Stage
from .selectors import in_state
from .snapshot import DatasetProgress
from .transitions import STATE_ORDER, WORKING, StageState, State


class Group(StrEnum):
    """In the order in which they are shown."""

    ATTENTION = "attention"
    RUNNING = "running"
    PAUSED = "paused"
    QUEUED = "queued"
    CANCELLED = "cancelled"
    READY = "ready"
    NEW = "new"


LABELS: Final = {
    Group.ATTENTION: "Attention", Group.RUNNING: "Running", Group.PAUSED: "Paused", Group.QUEUED: "Queued",
    Group.CANCELLED: "Cancelled", Group.READY: "Ready", Group.NEW: "Not processed yet",
}  # fmt: skip
PLACES: Final = {group: place for place, group in enumerate(Group)}
_GROUPS: Final = {place: group for group, place in PLACES.items()}
# The states that the datasets of a group may have. The filter `in_group` reads only those, by the index of states.
_STATES: Final = {
    Group.ATTENTION: WORKING | {State.ERROR}, Group.RUNNING: WORKING, Group.PAUSED: WORKING | {State.PENDING},
    Group.QUEUED: {State.PENDING}, Group.CANCELLED: {State.ERROR}, Group.READY: {State.READY},
    Group.NEW: {State.PENDING},
}  # fmt: skip


def group_of(progress: DatasetProgress) -> Group:
    """Return the group of a dataset. One that failed, is lost or makes no progress needs attention."""
    if progress.run is None:
        return Group.NEW
    match progress.state:
        case State.READY:
            return Group.READY
        case State.ERROR:
            return Group.CANCELLED if progress.cancelled else Group.ATTENTION
    if progress.paused:
        return Group.PAUSED
    if progress.state == State.PENDING:
        return Group.QUEUED
    return Group.ATTENTION if progress.health in (health.Health.LOST, health.Health.STALLED) else Group.RUNNING


def _is_unheard(before: Callable[..., Any], sign_gap: Any, now: datetime) -> Q:
    """Return `listening.is_unheard` in SQL, of a run whose last sign of life is ``heard``."""
    last = listening.last_read()
    if last is None:
        return Q(pk=None)
    if listening.is_away(now):
        return Q()
    since = Value(last.since.timestamp(), output_field=FloatField())
    patience = max(settings.LOST_AFTER, listening.GRACE_SECONDS)
    return Q(LessThan(before(patience, health.LOST_FACTOR, sign_gap), since), heard__lt=since)


class _Seconds(Func):
    """A time as seconds since 1970."""

    template = "EXTRACT(EPOCH FROM %(expressions)s)"
    output_field = FloatField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="((julianday(%(expressions)s) - 2440587.5) * 86400.0)", **context
        )


def with_places(datasets: QuerySet[Dataset], now: datetime) -> Any:
    """Return the query with the annotation ``place``: that of the dataset's group in `Group`, as of ``now``."""
    run = "head__run__"
    active = Stage.objects.filter(run=OuterRef("head__run"), state=StageState.ACTIVE)
    moment = Value(now.timestamp(), output_field=FloatField())

    def before(seconds: float, factor: float, gap: Any) -> Any:
        return moment - Greatest(Value(seconds), Value(factor) * gap, output_field=FloatField())

    sign_gap = F(f"{run}sign_gap")
    gap = Coalesce(Subquery(active.values("gap")[:1]), Value(0.0), output_field=FloatField())
    heard = Coalesce(f"{run}heartbeat_at", f"{run}updated_at")
    datasets = datasets.alias(
        heard=_Seconds(heard),
        progressed=_Seconds(Coalesce(f"{run}progressed_at", heard)),
        asked=_Seconds(F(f"{run}asked_at")),
    )
    lost_before = before(settings.LOST_AFTER, health.LOST_FACTOR, sign_gap)
    is_lost = Q(heard__lt=lost_before)
    is_stalled = Q(
        heard__gte=before(settings.SILENT_AFTER, health.SILENT_FACTOR, sign_gap),
        progressed__lt=before(settings.STALLED_AFTER, health.STALLED_FACTOR, gap),
    )
    waits = Q(**{f"{run}queued_at__isnull": False}) | Q(asked__gte=lost_before)
    waits |= is_lost & Q(**{f"{run}lost_at": None}) & _is_unheard(before, sign_gap, now)
    conditions: list[tuple[Q, Group]] = [
        (Q(head__run__isnull=True), Group.NEW),
        (Q(**{f"{run}state": State.READY.value}), Group.READY),
        (Q(**{f"{run}state": State.ERROR.value, f"{run}cancelled": True}), Group.CANCELLED),
        (Q(**{f"{run}state": State.ERROR.value}), Group.ATTENTION),
        (Q(**{f"{run}control": Run.Control.PAUSE}), Group.PAUSED),
        (Q(**{f"{run}state": State.PENDING.value}), Group.QUEUED),
        (waits, Group.RUNNING),
        (is_lost | is_stalled, Group.ATTENTION),
    ]
    whens = [When(condition, then=Value(PLACES[group])) for condition, group in conditions]
    return datasets.annotate(place=Case(*whens, default=Value(PLACES[Group.RUNNING]), output_field=IntegerField()))


def in_group(datasets: QuerySet[Dataset], group: Group, now: datetime) -> Any:
    """Filter datasets by their group, as of ``now``."""
    datasets = in_state(datasets, *_STATES[group])
    return datasets if group is Group.READY else with_places(datasets, now).filter(place=PLACES[group])


class GroupCounts(NamedTuple):
    """How many datasets each group has, by group, and in all. A group in ``at_least`` may have more than were counted.

    ``total`` is None where only the groups are counted.
    """

    counts: Mapping[Group, int]
    at_least: frozenset[Group]
    total: int | None = None


def count_groups(datasets: QuerySet[Dataset], now: datetime, most: int) -> GroupCounts:
    """Count ``datasets`` by group, as of ``now``. Two queries.

    Of each state at most ``most + 1`` of these datasets are counted, so that a state of many hides no other one. That
    bounds what is counted of the datasets that the caller sees, not how many others are read to find those. The groups
    that a dataset may be in whose state has more than ``most`` are in ``at_least``.
    """
    of_states = {state: in_state(datasets, state) for state in STATE_ORDER}
    # All of them are in one group, so their places, which cost most, are left out.
    ready = of_states.pop(State.READY).order_by()[: most + 1].count()
    of_state, of_group = _count_places(of_states, now, most)
    of_state[State.READY] = of_group[Group.READY] = ready
    return GroupCounts(of_group, _cut(of_state, most))


def complete_counts(kept: Mapping[int, int], datasets: QuerySet[Dataset], now: datetime, most: int) -> GroupCounts:
    """Count ``datasets`` by group, of which ``kept`` says how many each state has, by place in `STATE_ORDER`.

    Those that are ready and those that never ran are not counted again. Of the others as in `count_groups`. One query.
    """
    known = {state: kept.get(place, 0) for place, state in enumerate(STATE_ORDER)}
    counted = [state for state in STATE_ORDER if state != State.READY and known[state]]
    of_states: dict[State, QuerySet[Dataset]] = {state: in_state(datasets, state) for state in counted}
    if State.PENDING in of_states:
        waiting = Run.objects.filter(state=State.PENDING).values("dataset")
        of_states[State.PENDING] = of_states[State.PENDING].filter(pk__in=waiting)
    of_state, of_group = _count_places(of_states, now, most)
    at_least = _cut(of_state, most)
    of_group[Group.READY] = known[State.READY]
    if Group.NEW not in at_least:
        of_group[Group.NEW] = max(known[State.PENDING] - of_state[State.PENDING], 0)
    return GroupCounts(of_group, at_least, sum(known.values()))


def _count_places(
    of_states: Mapping[State, QuerySet[Dataset]], now: datetime, most: int
) -> tuple[Counter[State], Counter[Group]]:
    """Count at most ``most + 1`` datasets of each state, by state and by group."""
    of_state, of_group = Counter[State](), Counter[Group]()
    if not of_states:
        return of_state, of_group
    # SQLite has no slice in a union, so each stands in a query of its own.
    slices = (datasets.order_by().values("pk")[: most + 1] for datasets in of_states.values())
    first, *others = (Dataset.objects.filter(pk__in=of_one).values("pk") for of_one in slices)
    some = first.union(*others, all=True) if others else first
    placed = with_places(Dataset.objects.filter(pk__in=some), now).order_by()
    for state_order, place, count in placed.values_list("state_order", "place").annotate(count=Count("pk")):
        # Added, because a dataset may change its state between the two queries.
        of_state[STATE_ORDER[state_order]] += count
        of_group[_GROUPS[place]] += count
    return of_state, of_group


def _cut(of_state: Mapping[State, int], most: int) -> frozenset[Group]:
    """Return the groups that may have more datasets than were counted."""
    cut = {state for state, count in of_state.items() if count > most}
    return frozenset(group for group in Group if _STATES[group] & cut)


def count_few(datasets: QuerySet[Dataset], now: datetime) -> GroupCounts:
    """Count all of ``datasets`` by group, as of ``now``. One query, which reads them all."""
    places = with_places(datasets, now).order_by().values_list("place").annotate(count=Count("pk"))
    return GroupCounts({_GROUPS[place]: count for place, count in places}, frozenset())
