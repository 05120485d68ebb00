"""Groups of near-duplicates: found once all samples have their vectors, and kept until vectors change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import batched

from django.conf import settings

from apps.datasets import services as datasets
from apps.datasets.models import NearDuplicate
from apps.pipeline.images.duplicates import nearest_earlier, read_vectors
from apps.pipeline.images.embedders import load_embedder
from apps.pipeline.models import Chunk, Job
from apps.pipeline.stages import EMBED
from apps.progress import services as progress

from .lease import Lease

ROWS_AT_ONCE = 500


def find_near_duplicates(job: Job, lease: Lease, look: Callable[[], None]) -> None:
    """Group the samples of a dataset that are at least ``NEAR_DUPLICATES`` similar, if this run made vectors.

    ``look`` is called often, and may raise to stop. A search that was interrupted starts over.
    """
    if settings.NEAR_DUPLICATES > 1 or not Chunk.objects.filter(job=job, phase=EMBED).exists():
        return
    dataset_pk = job.run.dataset_id
    with lease.transaction():
        progress.report(job.run_id, message="Finding near-duplicates...")
    while True:
        look()
        with lease.transaction():
            if not datasets.remove_near_duplicates(dataset_pk):
                break
    for rows in batched(_grouped(dataset_pk, look), ROWS_AT_ONCE):
        with lease.transaction():
            NearDuplicate.objects.bulk_create(rows, ignore_conflicts=True)


def _grouped(dataset_pk: int, look: Callable[[], None]) -> Iterator[NearDuplicate]:
    """Yield the samples that have near-duplicates. The first of a group is its name, and 1 similar."""
    embedder = load_embedder(settings.EMBEDDER)
    read = partial(read_vectors, dataset_pk, embedder.name, embedder.dimensions)
    groups: dict[int, int] = {}
    for near in nearest_earlier(read, settings.NEAR_DUPLICATES, look):
        group = groups.get(near.earlier, near.earlier)
        groups[near.sample] = group
        if near.earlier not in groups:
            groups[near.earlier] = group
            yield NearDuplicate(dataset_id=dataset_pk, sample_id=group, group=group, score=1.0)
        yield NearDuplicate(dataset_id=dataset_pk, sample_id=near.sample, group=group, score=near.score)
