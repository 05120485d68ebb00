"""Groups of near-duplicates: found once all samples have their vectors, and kept until vectors change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import batched
from typing import Final

from django.conf import settings

from apps.datasets import services as datasets
from apps.datasets.models import NearDuplicate, Sample
from apps.pipeline.images.duplicates import nearest_earlier, read_vectors
from apps.pipeline.images.embedders import load_embedder
from apps.pipeline.models import Chunk, Job
from apps.pipeline.stages import EMBED
from apps.progress import services as progress

from .lease import Lease

ROWS_AT_ONCE = 500
SECONDS_BETWEEN_REPORTS = 1.0
WORDS: Final = "Finding near-duplicates..."


def find_near_duplicates(job: Job, lease: Lease, look: Callable[[], None]) -> None:
    """Group the samples of a dataset that are at least ``NEAR_DUPLICATES`` similar, if this run made vectors.

    ``look`` is called often, and may raise to stop. A search that was interrupted starts over.
    """
    if settings.NEAR_DUPLICATES > 1 or not Chunk.objects.filter(job=job, phase=EMBED).exists():
        return
    dataset_pk = job.run.dataset_id
    report = _Report(job, lease)
    while True:
        look()
        with lease.transaction():
            if not datasets.remove_near_duplicates(dataset_pk):
                break
    for rows in batched(_grouped(dataset_pk, look, report.add), ROWS_AT_ONCE):
        with lease.transaction():
            NearDuplicate.objects.bulk_create(rows, ignore_conflicts=True)


class _Report:
    """Tells how much of the search is done."""

    def __init__(self, job: Job, lease: Lease) -> None:
        self._job = job
        self._lease = lease
        samples = Sample.objects.present().filter(dataset=job.run.dataset_id).count()
        self._pairs = max(1, samples * (samples - 1) // 2)
        self._compared = 0
        self._tell(WORDS)

    def add(self, pairs: int) -> None:
        self._compared += pairs
        if time.monotonic() - self._told_at >= SECONDS_BETWEEN_REPORTS:
            self._tell(f"{WORDS} {min(99, 100 * self._compared // self._pairs)}%")

    def _tell(self, message: str) -> None:
        with self._lease.transaction():
            progress.report(self._job.run_id, message=message, progressed=True)
        self._told_at = time.monotonic()


def _grouped(dataset_pk: int, look: Callable[[], None], on_compared: Callable[[int], None]) -> Iterator[NearDuplicate]:
    """Yield the samples that have near-duplicates. The first of a group is its name, and 1 similar."""
    embedder = load_embedder(settings.EMBEDDER)
    read = partial(read_vectors, dataset_pk, embedder.name, embedder.dimensions)
    groups: dict[int, int] = {}
    for near in nearest_earlier(read, settings.NEAR_DUPLICATES, look, on_compared):
        group = groups.get(near.earlier, near.earlier)
        groups[near.sample] = group
        if near.earlier not in groups:
            groups[near.earlier] = group
            yield NearDuplicate(dataset_id=dataset_pk, sample_id=group, group=group, score=1.0)
        yield NearDuplicate(dataset_id=dataset_pk, sample_id=near.sample, group=group, score=near.score)
