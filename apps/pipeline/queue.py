"""The queue of the workers, and the sweep that puts jobs of dead workers back into it."""

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
    """Recorded as the error of a task whose worker let its lease end."""


def enqueue(job: Job) -> None:
    """Queue a task for ``job``, and store its id in the job."""
    job.task_id = str(process_run.enqueue(job.pk).id)
    job.save(update_fields=["task_id"])


def sweep() -> int:
    """Queue every unfinished job again that no worker holds and no task will process. Returns how many.

    Each worker sweeps when it starts and then several times per lease. Two sweeps at once may queue a job twice: only
    one of the tasks gets the lease, and the other ends at once.
    """
    now = timezone.now()
    dropped = (
        Job.objects.filter(run__state__in=UNFINISHED)
        .exclude(run__control=Run.Control.PAUSE)
        .filter(Q(lease_token="") | Q(lease_until__lt=now))
    )
    swept = 0
    for job in dropped:
        task = DBTaskResult.objects.filter(pk=job.task_id).first() if job.task_id else None
        if task is not None and _will_process(task):
            continue
        with transaction.atomic():
            if task is not None and task.status == TaskResultStatus.RUNNING:
                task.set_failed(WorkerLost(f"Nothing was heard from the worker for {settings.LEASE_SECONDS:g} s."))
            enqueue(job)
        logger.info("queued the job of run %s again", job.pk)
        swept += 1
    return swept


def _will_process(task: DBTaskResult[..., object]) -> bool:
    """Whether a task waits in the queue, or was taken a moment ago and is about to take the lease of its job."""
    if task.status == TaskResultStatus.READY:
        return True
    lease = timedelta(seconds=settings.LEASE_SECONDS)
    return bool(task.status == TaskResultStatus.RUNNING and timezone.now() - task.started_at < lease)
