"""The embed step: samples get vectors from their thumbnails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import batched
from typing import Any, Final

import numpy as np
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error
from django.db.models import QuerySet
from numpy.typing import NDArray

from apps.core.sql import delete_some
from apps.datasets.models import EmbeddingBlock, Sample
from apps.pipeline.images.embedders import embed_chunk, load_embedder
from apps.pipeline.models import Chunk, Job
from apps.pipeline.stages import EMBED
from apps.progress import services as progress

from .chunks import EMBED_CHUNK, chunk_size, new_chunks
from .lease import Lease, LeaseLost
from .pool import ItemTimedOut, Pool
from .step import Step, StopRequested

logger = logging.getLogger(__name__)

SAMPLES_PER_QUERY: Final = 1024


def plan_embedding(job: Job, lease: Lease, look: Callable[[], None] = lambda: None) -> None:
    """Cut the samples without a vector of the current embedder into chunks, and move the job on to its embed phase.

    Missing samples are left out. A planning that was interrupted starts over. ``look`` is called between transactions,
    and may raise to stop.
    """
    samples = (
        Sample.objects.present()
        .filter(dataset=job.run.dataset_id)
        .exclude(embedding_block__embedder=load_embedder(settings.EMBEDDER).name)
        .order_by("pk")
        .values_list("pk", "sha256")
    )
    count = 1
    while count:
        with lease.transaction():
            count = delete_some(Chunk.objects.filter(job=job, phase=Job.Phase.EMBED), large=[Chunk])
    for chunks in new_chunks(job, Job.Phase.EMBED, batched(_paged(samples), chunk_size(EMBED_CHUNK))):
        look()
        with lease.transaction():
            Chunk.objects.bulk_create(chunks)
    with lease.transaction():
        job.enter_phase(Job.Phase.EMBED)


def _paged(samples: QuerySet[Sample, tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the rows of a query that is ordered by its first column, the primary key.

    Fetched in pages, so that chunks can be committed in between: SQLite refuses to write while a cursor is open.
    """
    last = 0
    while page := list(samples.filter(pk__gt=last)[:SAMPLES_PER_QUERY]):
        yield from page
        last = page[-1][0]


class EmbedStep(Step[NDArray[np.float32]]):
    """Embed the samples of the chunks. One that cannot be embedded is a failure and stays a sample: the next run tries
    it again.
    """

    name = EMBED

    def __init__(self, job: Job, lease: Lease) -> None:
        super().__init__(job, lease)
        self.embedder = load_embedder(settings.EMBEDDER)
        # For each chunk in the pool: the reason why samples of it, by id, have no vector.
        self._failed: dict[int, dict[int, str]] = {}

    def count(self) -> tuple[int, int]:
        """Count all present samples of the dataset: those that have their vectors from earlier runs are done."""
        samples = Sample.objects.present().filter(dataset=self.run.dataset_id).count()
        total, done = super().count()
        return samples, samples - (total - done)

    def submit(self, pool: Pool, chunk: Chunk) -> Future[NDArray[np.float32]]:
        return pool.submit(embed_chunk, *self._arguments([sha256 for _, sha256 in chunk.items]))

    def isolate(self, pool: Pool, chunk: Chunk, error: Exception) -> NDArray[np.float32]:
        """Embed each sample alone, in a process of its own if a process died. Returns the vectors of the good ones.

        Raises ``error`` if the embedder is at fault: where none of a run's first samples can be embedded.
        """
        rows: list[NDArray[np.float32]] = []
        failed: dict[int, str] = {}
        for sample_pk, sha256 in chunk.items:
            try:
                rows.append(self._embed_one(pool, sha256, isolated=isinstance(error, BrokenProcessPool)))
            except ItemTimedOut as timeout:
                failed[sample_pk] = str(timeout)
            except BrokenProcessPool:
                failed[sample_pk] = f"the process of the embedder {self.embedder.name} died"
            except FileNotFoundError:
                failed[sample_pk] = "its thumbnail is gone"
            except (LeaseLost, StopRequested, ObjectDoesNotExist, Error):
                raise  # found out while waiting for the pool
            except Exception as own:
                # Everyone who sees the dataset sees the reason. The text is the server's own, so it is in the log.
                failed[sample_pk] = f"the embedder {self.embedder.name} failed: {type(own).__name__}"
                logger.warning("the embedder %s failed on sample %s: %s", self.embedder.name, sample_pk, own)
        if len(failed) == len(chunk.items) > 1 and self._is_first(chunk):
            raise error
        self._failed[chunk.pk] = failed
        return np.concatenate(rows) if rows else np.empty((0, self.embedder.dimensions), dtype=np.float32)

    def write(self, chunk: Chunk, result: NDArray[np.float32]) -> list[str]:
        failed = self._failed.pop(chunk.pk, {})
        sample_pks = [sample_pk for sample_pk, _ in chunk.items if sample_pk not in failed]
        if sample_pks:
            block = EmbeddingBlock.objects.create(
                dataset_id=self.run.dataset_id,
                embedder=self.embedder.name,
                dimensions=result.shape[1],
                sample_ids=np.asarray(sample_pks, dtype="<i8").tobytes(),
                vectors=result.astype("<f4", copy=False).tobytes(),
            )
            Sample.objects.filter(pk__in=sample_pks).update(embedding_block=block)
        if failed:
            paths = Sample.objects.filter(pk__in=failed).values_list("pk", "path")
            progress.record_failures(self.run.pk, EMBED, [(path, failed[pk]) for pk, path in paths])
        return []

    def _is_first(self, chunk: Chunk) -> bool:
        """Whether a chunk has the first samples of a run, and enough of them to blame the embedder.

        A few are enough where the dataset has no vector of this embedder yet.
        """
        if chunk.position > 0:
            return False
        blocks = EmbeddingBlock.objects.filter(dataset=self.run.dataset_id, embedder=self.embedder.name)
        return chunk.size >= EMBED_CHUNK or not blocks.exists()

    def _embed_one(self, pool: Pool, sha256: str, *, isolated: bool) -> NDArray[np.float32]:
        arguments = self._arguments([sha256])
        if not isolated:
            future = pool.submit(embed_chunk, *arguments)
            pool.wait([future])
            try:
                return future.result()
            except BrokenProcessPool:
                pass  # perhaps it was the process of another chunk
        return pool.isolate(embed_chunk, *arguments)

    def _arguments(self, hashes: list[str]) -> tuple[Any, ...]:
        return settings.EMBEDDER, str(self.thumbnails), hashes
