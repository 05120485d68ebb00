"""Remove deleted datasets, forgotten samples and what is too old: a few rows in each transaction, then files."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from apps.core.sql import delete_some
from apps.datasets import services as datasets
from apps.datasets.models import Dataset, Sample
from apps.notifications.services import prune_notifications
from apps.pipeline.images.media import thumbnail_folder
from apps.pipeline.models import Chunk, Job
from apps.progress import services as progress

from .cleanup import delete_orphaned_thumbnails, delete_some_samples

logger = logging.getLogger(__name__)

# Between two transactions, for each second that the last one took. SQLite has one writer at a time, and does not queue.
PAUSE: Final = 1.0


def remove_deleted_datasets(stop: threading.Event) -> None:
    """Remove every deleted dataset that no other worker is removing, until ``stop`` is set."""
    deleted = Dataset.with_deleted.filter(deleted_at__isnull=False).order_by("deleted_at")
    for dataset_pk, dataset_id in list(deleted.values_list("pk", "dataset_id")):
        if _remove(dataset_pk, stop):
            logger.info("removed the deleted dataset %s", dataset_id)


def _remove(dataset_pk: int, stop: threading.Event) -> bool:
    """Remove a deleted dataset. Returns whether it is gone."""
    with datasets.removing(dataset_pk) as is_ours:
        if not is_ours:
            return False
        # In the order in which workers and reporters lock. Whoever held one of these has written its last row.
        Job.objects.filter(run__dataset=dataset_pk).exclude(lease_token="").update(lease_token="", lease_until=None)
        progress.close_for_removal(dataset_pk)
    for remove_rows in (_remove_some_jobs, progress.remove_some_runs, datasets.remove_some_samples):
        if not _in_steps(partial(_removed, dataset_pk, remove_rows), stop):
            return False
    with datasets.removing(dataset_pk) as is_ours:
        if not is_ours:
            return False
        datasets.remove_dataset(dataset_pk)
    shutil.rmtree(thumbnail_folder(dataset_pk), ignore_errors=True)
    return True


def _removed(dataset_pk: int, remove_rows: Callable[[int], int]) -> int:
    with datasets.removing(dataset_pk) as is_ours:
        return remove_rows(dataset_pk) if is_ours else 0


def _in_steps(remove_rows: Callable[[], int], stop: threading.Event) -> bool:
    """Call a function until it returns 0, with pauses for other writers. Returns False if ``stop`` was set before."""
    count = 1
    while count:
        began = time.monotonic()
        count = remove_rows()
        if stop.wait(PAUSE * (time.monotonic() - began)):
            return False
    return True


def delete_forgotten_samples(stop: threading.Event) -> None:
    """Delete the missing samples that were forgotten, or are missing for ``FORGET_MISSING_AFTER_DAYS``."""
    for dataset in Dataset.objects.filter(missing_forgotten_at__isnull=False):
        forgotten = Sample.objects.filter(dataset=dataset, missing_since__lte=dataset.missing_forgotten_at)
        if _in_steps(partial(delete_some_samples, dataset.pk, forgotten), stop) and not forgotten.exists():
            datasets.finish_forgetting(dataset)
    if settings.FORGET_MISSING_AFTER_DAYS:
        before = timezone.now() - timedelta(days=settings.FORGET_MISSING_AFTER_DAYS)
        old = Sample.objects.filter(missing_since__lt=before)
        having = Dataset.objects.filter(Exists(old.filter(dataset=OuterRef("pk"))))
        for dataset_pk in list(having.values_list("pk", flat=True)):
            _in_steps(partial(delete_some_samples, dataset_pk, old.filter(dataset=dataset_pk)), stop)


def prune(stop: threading.Event) -> None:
    """Remove what is older than the ``KEEP_…_DAYS`` of the settings, ended sessions, and thumbnails of no dataset."""
    now = timezone.now()
    finished_tasks = DBTaskResult.objects.finished()
    for prune_some, days in (
        (progress.prune_details, settings.KEEP_DETAILS_DAYS),
        (progress.prune_runs, settings.KEEP_RUNS_DAYS),
        (datasets.prune_tokens, settings.KEEP_TOKENS_DAYS),
        (prune_notifications, settings.KEEP_NOTIFICATIONS_DAYS),
        (lambda before: delete_some(finished_tasks.filter(finished_at__lt=before)), settings.KEEP_TASKS_DAYS),
        (lambda before: delete_some(Session.objects.filter(expire_date__lt=now)), 1),
    ):
        before = now - timedelta(days=days)
        if days and not _in_steps(transaction.atomic(partial(prune_some, before)), stop):
            return
    delete_orphaned_thumbnails()


def _remove_some_jobs(dataset_pk: int) -> int:
    """Remove some chunks and jobs. Returns how many; 0: there are none left."""
    return delete_some(Chunk.objects.filter(job__run__dataset=dataset_pk), Job.objects.filter(run__dataset=dataset_pk))
