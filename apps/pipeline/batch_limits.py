"""The limits of batches: how many datasets of a batch may be processed at once.

A job whose batch has a limit is held when it is queued. It gets a task once fewer jobs of its batch are under way than
the limit says. Whoever decides locks the rows of the batches first, so two workers never give away the same place. A
worker that takes the lease of a job checks the limit again (`has_place`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import Now, RowNumber

from apps.batches.models import Batch, BatchMember
from apps.progress.models import Run
from apps.progress.transitions import UNFINISHED

from .models import Job

# Jobs that one transaction admits.
MOST_AT_ONCE: Final = 100

_LEASED: Final = Q(lease_token__gt="", lease_until__gte=Now())
_GOING: Final = Q(is_held=False, run__state__in=UNFINISHED) & (_LEASED | ~Q(run__control=Run.Control.PAUSE))


def _memberships() -> QuerySet[BatchMember]:
    """The datasets for which the limit of a batch holds."""
    return BatchMember.objects.filter(is_limited=True, batch__limit__gt=0)


def is_limited(job: Job) -> bool:
    """Return whether a batch of the job's dataset has a limit that holds for it."""
    return _memberships().filter(dataset=job.run.dataset_id).exists()


def has_place(run_pk: int) -> bool:
    """Return whether every batch of a job is within its limit, with the job's own lease counted.

    Call it in the transaction that takes the lease. It locks the batches until that ends.
    """
    limits = _lock(_memberships().filter(dataset__runs=run_pk).values_list("batch", flat=True))
    leased = _count_jobs(limits, _LEASED) if limits else {}
    return all(leased.get(batch_pk, 0) <= limit for batch_pk, limit in limits.items())


def next_jobs() -> list[Job]:
    """Return the held jobs for which there is a place now, in the order in which they were queued.

    Locks the batches that have held jobs until the transaction ends. At most seven queries.
    """
    waiting = Job.objects.filter(is_held=True, run__state__in=UNFINISHED, run__dataset__deleted_at=None)
    waiting = waiting.exclude(run__control=Run.Control.PAUSE)
    limited = _memberships()
    held = limited.filter(dataset__runs__job__in=waiting)
    limits = _lock(held.values_list("batch", flat=True))
    # Those whose batch has lost its limit, or that left it.
    free_jobs = list(waiting.exclude(run__dataset__in=limited.values("dataset")).order_by("pk")[:MOST_AT_ONCE])
    going = _count_jobs(limits, _GOING) if limits else {}
    free = Counter({pk: limit - going.get(pk, 0) for pk, limit in limits.items() if limit > going.get(pk, 0)})
    if not free:
        return free_jobs
    # Those that wait for a place in another batch do not stand in the way of those behind them.
    full = limited.filter(batch__in=limits.keys() - free.keys())
    place = Window(RowNumber(), partition_by=F("batch"), order_by=F("dataset__runs__job").asc())
    rows: Any = (
        held.filter(batch__in=list(free))
        .exclude(dataset__in=full.values("dataset"))
        .annotate(job=F("dataset__runs__job"), place=place)
        .filter(place__lte=min(max(free.values()), MOST_AT_ONCE))
        .values_list("job", "dataset")
        .order_by("job")
    )
    datasets: dict[int, int] = dict(rows)
    batches_of: dict[int, set[int]] = {}
    pairs: Any = limited.filter(dataset__in=datasets.values()).values_list("dataset", "batch")
    for dataset_pk, batch_pk in pairs:
        batches_of.setdefault(dataset_pk, set()).add(batch_pk)
    chosen = []
    for job_pk, dataset_pk in datasets.items():
        if all(free[batch_pk] > 0 for batch_pk in batches_of[dataset_pk]):
            free.subtract(batches_of[dataset_pk])
            chosen.append(job_pk)
    return free_jobs + list(Job.objects.filter(pk__in=chosen).order_by("pk"))


def _lock(batch_pks: QuerySet[Any, Any]) -> dict[int, int]:
    """Lock batches, in order, and return their limits by row id."""
    batches = Batch.objects.select_for_update(no_key=True).filter(pk__in=batch_pks.distinct()).order_by("pk")
    return dict(batches.values_list("pk", "limit"))


def _count_jobs(limits: dict[int, int], condition: Q) -> dict[int, int]:
    """Count the jobs of each batch that match ``condition``, by the batch's row id."""
    jobs = Job.objects.filter(
        condition, run__dataset__batch_memberships__in=_memberships().filter(batch__in=list(limits))
    )
    rows = jobs.order_by().values_list("run__dataset__batch_memberships__batch").annotate(count=Count("pk"))
    return dict(rows)
