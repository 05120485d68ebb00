"""Reads of batches. The facts of a batch take two queries, and a third where datasets are worked on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Sum
from django.utils import timezone

from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.progress.estimates import SecondsRange
from apps.progress.groups import Group, with_places
from apps.progress.selectors import facts_of
from apps.progress.snapshot import time_left_of
from apps.progress.transitions import FINISHED, State

from .access import members_of
from .models import Batch, BatchMember
from .progress import BatchFacts, BatchProgress, BatchSegment, MemberFacts, batch_progress, segments_of

# The time left of a run takes long to estimate, so within these seconds it is taken from the last estimate.
ESTIMATE_SECONDS: Final = 5.0
# Estimates that are kept; all are dropped when there are more.
MOST_ESTIMATES: Final = 20_000

_GROUPS: Final = list(Group)
_COLUMNS: Final = (
    "pk", "dataset_id", "head__epoch", "head__version", "place", "head__run", "head__run__state", "head__run__percent",
    "head__run__failed", "head__run__skipped", "head__run__started_at", "head__run__finished_at",
    "head__run__updated_at", "created_at",
)  # fmt: skip

# By epoch and run: when the time left was estimated, in seconds of the monotonic clock, and what it was.
_estimates: dict[tuple[str, int], tuple[float, SecondsRange | None]] = {}


def batch_facts(caller: Caller, batch: Batch, now: datetime) -> BatchFacts:
    """Return the facts of a batch as the caller sees it. At most two queries, however many datasets there are."""
    rows: Any = with_places(members_of(caller, batch), now).order_by().values_list(*_COLUMNS)
    members = [_member(row) for row in rows]
    left = _time_left([one for one in members if one.group is Group.RUNNING], now)
    return BatchFacts(
        batch_pk=batch.pk,
        batch_id=batch.batch_id,
        name=batch.name,
        limit=batch.limit,
        batch_epoch=batch.epoch,
        batch_version=batch.version,
        changed_at=batch.changed_at,
        members=tuple(replace(one, left=left[one.dataset_pk]) if one.dataset_pk in left else one for one in members),
    )


def progress_of_batch(caller: Caller, batch: Batch) -> BatchProgress:
    """Return the progress of a batch as the caller sees it."""
    return batch_progress(batch_facts(caller, batch, timezone.now()))


def due_end_checks(most: int) -> list[int]:
    """Return the row ids of batches that are to be looked at now, whether they have ended."""
    due = Batch.objects.filter(end_check_at__lte=timezone.now()).order_by("end_check_at")
    return list(due.values_list("pk", flat=True)[:most])


def has_ended(batch: Batch) -> bool:
    """Return whether each dataset of a batch has run, and none is going to be or is worked on. One query."""
    datasets = Dataset.objects.filter(batch_memberships__batch=batch)
    return not datasets.exclude(head__run__state__in=[state.value for state in FINISHED]).exists()


def batches_of(dataset_pk: int) -> list[Batch]:
    """Return the batches that a dataset is in. Whoever sees the dataset sees them."""
    return list(Batch.objects.filter(memberships__dataset=dataset_pk)[:100])


def count_members(caller: Caller, batches: Iterable[Batch]) -> dict[int, int]:
    """Return how many datasets of each batch the caller may see, by the batch's row id. One query."""
    rows = BatchMember.objects.filter(batch__in=[batch.pk for batch in batches], dataset__in=caller.visible())
    return dict(rows.order_by().values_list("batch").annotate(count=Count("pk")))


def segments_of_many(caller: Caller, batches: Iterable[Batch], now: datetime) -> dict[int, tuple[BatchSegment, ...]]:
    """Return the segments of each batch's bar as the caller sees it, by the batch's row id. One query."""
    seen = caller.visible(Dataset.objects.filter(batch_memberships__batch__in=[batch.pk for batch in batches]))
    rows: Any = (
        with_places(seen, now)
        .order_by()
        .values_list("batch_memberships__batch", "head__run__state", "place")
        .annotate(count=Count("pk"), done=Sum("head__run__percent"))
    )
    parts: dict[int, list[tuple[State, Group, int, float]]] = {}
    for batch_pk, state, place, count, done in rows:
        is_ready = _GROUPS[place] is Group.READY
        parts.setdefault(batch_pk, []).append(
            (State(state or State.PENDING), _GROUPS[place], count, 100.0 * count if is_ready else done or 0.0)
        )
    return {batch_pk: segments_of(of_batch) for batch_pk, of_batch in parts.items()}


def _member(row: Any) -> MemberFacts:
    pk, dataset_id, epoch, version, place, run, state, percent, failed, skipped, started, finished, updated, created = (
        row
    )
    return MemberFacts(
        dataset_pk=pk,
        dataset_id=dataset_id,
        epoch=epoch or str(pk),
        version=version or 0,
        run_pk=run or 0,
        group=_GROUPS[place],
        state=State(state or State.PENDING),
        percent=percent,
        failed=failed or 0,
        skipped=skipped or 0,
        started_at=started,
        finished_at=finished,
        updated_at=updated or created,
    )


def _time_left(running: list[MemberFacts], now: datetime) -> dict[int, SecondsRange | None]:
    """Return the time left of datasets that are worked on, by row id, no older than `ESTIMATE_SECONDS`."""
    moment = time.monotonic()
    known = {one.dataset_pk: _estimates.get((one.epoch, one.run_pk)) for one in running}
    old = [pk for pk, estimate in known.items() if estimate is None or moment - estimate[0] > ESTIMATE_SECONDS]
    left = {pk: estimate[1] for pk, estimate in known.items() if estimate is not None}
    if len(_estimates) > MOST_ESTIMATES:
        _estimates.clear()
    for pk, facts in facts_of(old).items():
        eta = time_left_of(facts, now)
        left[pk] = SecondsRange(eta.low, eta.high) if eta is not None else None
        if facts.run is not None:
            _estimates[facts.epoch, facts.run.id] = moment, left[pk]
    return left
