"""The queue of the workers, and the sweeper that puts back what a dead one dropped."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.tasks.base import TaskResultStatus
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from apps.progress.models import Run
from apps.progress.transitions import UNFINISHED

from .models import Job
from .tasks import process_run

logger = logging.getLogger(__name__)


class WorkerLost(Exception):
    """Stands in the record of a task whose worker has not been heard of for longer than its lease."""


def enqueue(job: Job) -> None:
    """Queue a task for ``job``, and note which."""
    job.task_id = str(process_run.enqueue(job.pk).id)
    job.save(update_fields=["task_id"])


def sweep() -> int:
    """Queue again every unfinished job that no worker has and no task is waiting to process. Says how many.

    Run by every worker, at its start and then several times a lease. Two sweeps at once may queue a job twice: the
    claim decides, and the second task ends at once.
    """
    now = timezone.now()
    orphans = (
        Job.objects.filter(run__state__in=UNFINISHED)
        .exclude(run__control=Run.Control.PAUSE)
        .filter(Q(claim="") | Q(lease_until__lt=now))
    )
    swept = 0
    for job in orphans:
        task = DBTaskResult.objects.filter(pk=job.task_id).first() if job.task_id else None
        if task is not None and _will_claim(task):
            continue
        with transaction.atomic():
            if task is not None and task.status == TaskResultStatus.RUNNING:
                task.set_failed(WorkerLost(f"Not heard of for {settings.LEASE_SECONDS:g} s."))
            enqueue(job)
        logger.info("queued again: job of run %s", job.pk)
        swept += 1
    return swept


def _will_claim(task: DBTaskResult[..., object]) -> bool:
    """Whether a task waits in the queue, or was taken a moment ago and is about to claim its job."""
    if task.status == TaskResultStatus.READY:
        return True
    lease = timedelta(seconds=settings.LEASE_SECONDS)
    return bool(task.status == TaskResultStatus.RUNNING and timezone.now() - task.started_at < lease)
