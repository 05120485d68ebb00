"""Remove deleted datasets: their rows, a few in each transaction, and then their thumbnails."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from typing import Final

from apps.core.sql import delete_some
from apps.datasets import services as datasets
from apps.datasets.models import Dataset
from apps.pipeline.images.media import thumbnail_folder
from apps.pipeline.models import Chunk, Job
from apps.progress import services as progress

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
    for remove_some in (_remove_some, progress.remove_some, datasets.remove_some):
        count = 1
        while count:
            began = time.monotonic()
            with datasets.removing(dataset_pk) as is_ours:
                if not is_ours:
                    return False
                count = remove_some(dataset_pk)
            if stop.wait(PAUSE * (time.monotonic() - began)):
                return False
    with datasets.removing(dataset_pk) as is_ours:
        if not is_ours:
            return False
        datasets.remove_dataset(dataset_pk)
    shutil.rmtree(thumbnail_folder(dataset_pk), ignore_errors=True)
    return True


def _remove_some(dataset_pk: int) -> int:
    """Remove some chunks and jobs. Returns how many; 0: there are none left."""
    return delete_some(Chunk.objects.filter(job__run__dataset=dataset_pk), Job.objects.filter(run__dataset=dataset_pk))
