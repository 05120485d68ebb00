"""The queue of the workers, and the sweep that puts jobs of dead workers back into it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import batched
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from apps.pipeline.work.attempts import count_attempt
from apps.pipeline.work.lease import release_late
from apps.progress import services as progress
from apps.progress.errors import RunFinished
from apps.progress.models import Run
from apps.progress.transitions import UNFINISHED

from .batch_limits import is_limited, next_jobs
from .models import Job
from .tasks import process_run

logger = logging.getLogger(__name__)

# Jobs whose tasks one query reads.
JOBS_AT_ONCE: Final = 500


class WorkerLost(Exception):
    """Recorded as the error of a task whose worker let its lease end."""


def enqueue(job: Job) -> None:
    """Queue a task for ``job``, and store its id in the job. Where its batch has a limit, it is held for its turn."""
    job.is_held = is_limited(job)
    job.task_id = "" if job.is_held else str(process_run.enqueue(job.pk).id)
    job.save(update_fields=["task_id", "is_held"])


def admit_held() -> int:
    """Queue the held jobs whose turn it is. Returns how many. Workers call it again and again, any number at once."""
    if not Job.objects.filter(is_held=True).exists():
        return 0
    with transaction.atomic():
        jobs = next_jobs()
        for job in jobs:
            job.is_held = False
            job.task_id = str(process_run.enqueue(job.pk).id)
            job.save(update_fields=["task_id", "is_held"])
    return len(jobs)


def sweep() -> int:
    """Queue every unfinished job again that no worker holds and no task will process. Returns how many.

    A run whose worker was lost too often ends in error instead. Each worker sweeps when it starts and then several
    times per lease. Two sweeps at once may queue a job twice: only one of the tasks gets the lease, and the other ends
    at once.
    """
    release_late()
    paused = Job.objects.filter(_NO_LEASE, run__control=Run.Control.PAUSE, run__control_seen_at=None)
    for run_pk in paused.values_list("pk", flat=True):
        progress.acknowledge(run_pk)  # nobody works on it
    return _queue_dropped(_dropped_jobs())


def queue_resumed() -> int:
    """Queue the jobs of runs that were resumed and that nobody works on. Returns how many.

    Workers call it several times a second: a run that is resumed does not wait for the next sweep.
    """
    is_new = Q(run__queued_at=None) | Q(run__queued_at__lt=F("run__control_at"))
    resumed = _dropped_jobs().filter(is_new, run__control=Run.Control.RUN, run__control_seen_at=None)
    return _queue_dropped(resumed.filter(run__control_at__isnull=False))


def _dropped_jobs() -> QuerySet[Job]:
    """The unfinished jobs that no worker holds, and that are not paused. A task may wait for each."""
    jobs = Job.objects.filter(_NO_LEASE, is_held=False, run__state__in=UNFINISHED, run__dataset__deleted_at=None)
    return jobs.exclude(run__control=Run.Control.PAUSE)


def _queue_dropped(jobs: QuerySet[Job]) -> int:
    rows: Sequence[tuple[int, str, str]] = list(jobs.order_by("pk").values_list("pk", "task_id", "lease_token"))
    queued = 0
    for some in batched(rows, JOBS_AT_ONCE):
        tasks = DBTaskResult.objects.in_bulk([task_id for _, task_id, _ in some if task_id])
        by_id = {str(pk): task for pk, task in tasks.items()}
        for job_pk, task_id, lease_token in some:
            with suppress(RunFinished):  # it has ended since it was read
                queued += _queue_again(job_pk, task_id, lease_token, by_id.get(task_id))
    return queued


_NO_LEASE = Q(lease_token="") | Q(lease_until__lt=Now())

# When this process first saw a task that was taken and whose job no worker held, in seconds of the monotonic clock.
_taken_since: dict[str, float] = {}


def _queue_again(job_pk: int, task_id: str, lease_token: str, task: DBTaskResult[..., object] | None) -> bool:
    """Queue a dropped job, unless its ``task`` will process it, or it has changed since it was read."""
    if task is not None and _will_process(task, had_lease=bool(lease_token)):
        return False
    with transaction.atomic():
        # Taking the ended lease away ends the right of its worker to write, should that worker only have stood still.
        unchanged = Job.objects.filter(_NO_LEASE, pk=job_pk, task_id=task_id, lease_token=lease_token)
        if not unchanged.update(lease_token="", lease_until=None):
            return False
        reason = f"Nothing was heard from the worker for {settings.LEASE_SECONDS:g} s."
        if task is not None and task.status == TaskResultStatus.RUNNING:
            task.set_failed(WorkerLost(reason))
        if lease_token and count_attempt(job_pk, reason):
            return False
        enqueue(Job.objects.get(pk=job_pk))
        progress.note_queued(job_pk)
    _taken_since.pop(task_id, None)
    logger.info("queued the job of run %s again", job_pk)
    return True


def _will_process(task: DBTaskResult[..., object], *, had_lease: bool) -> bool:
    """Whether a task waits in the queue, or was taken a moment ago and is about to take the lease of its job.

    ``had_lease``: a worker took the lease after the job was queued, and let it end.
    """
    if task.status == TaskResultStatus.READY:
        return True
    if task.status != TaskResultStatus.RUNNING or had_lease:
        return False
    # The time at which it was taken is by the clock of another machine, so it is watched for the length of a lease.
    since = _taken_since.setdefault(str(task.pk), time.monotonic())
    return time.monotonic() - since < settings.LEASE_SECONDS
