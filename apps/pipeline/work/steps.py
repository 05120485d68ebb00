"""The two steps of the pipeline: what a chunk asks of the processes, and what is written when it comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum
from numpy.typing import NDArray

from apps.core.sql import put_rows
from apps.datasets.models import EmbeddingBlock, Sample
from apps.pipeline.images.embedders import embed_chunk, load_embedder
from apps.pipeline.images.media import has_thumbnail, thumbnails_of
from apps.pipeline.images.scanning import FoundFile
from apps.pipeline.images.verify import Indexed, Rejected, index_chunk
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.stages import EMBED, INDEX
from apps.progress import services as progress
from apps.progress.models import Run

from .lease import Claim
from .pool import Pool


class Step[Result](ABC):
    """A phase in chunks, which counts what is committed, on top of what was committed before."""

    name: str
    message: str
    skipped: int | None = None  # None: this step skips nothing

    def __init__(self, job: Job, claim: Claim) -> None:
        self.job = job
        self.claim = claim
        self.run: Run = job.run
        self.thumbnails = thumbnails_of(self.run.dataset_id)
        self.total, self.current = self.counts()
        progress.start_stage(self.run.pk, self.name, total=self.total, message=self.said())
        progress.report(self.run.pk, current=self.current)

    @abstractmethod
    def counts(self) -> tuple[int, int]:
        """The total of this step, and how much of it is done."""

    @abstractmethod
    def submit(self, pool: Pool, chunk: Chunk) -> Future[Result]:
        """Hand a chunk to the pool."""

    @abstractmethod
    def one_by_one(self, pool: Pool, chunk: Chunk, error: Exception) -> Result:
        """Do a chunk that has failed with ``error`` item by item, to find the one to blame. Raises where none is."""

    @abstractmethod
    def write(self, chunk: Chunk, result: Result) -> list[str]:
        """Write what a chunk yielded; called in the transaction that counts it. Returns the items that it leaves."""

    def said(self) -> str:
        return f"{self.message}... {self.current}/{self.total}"

    def commit(self, chunk: Chunk, result: Result) -> Run:
        """Write a chunk's results and its progress, or neither. Raises `Superseded`, `RunFinished`."""
        with transaction.atomic():
            self.claim.confirm()
            left = self.write(chunk, result)
            Chunk.objects.filter(pk=chunk.pk).update(done=True, items=left)
            self.current += chunk.size
            return progress.report(self.run.pk, current=self.current, message=self.said(), skipped=self.skipped)

    def sizes(self) -> tuple[int, int]:
        """How many items the chunks of this step have, and how many of them are done."""
        chunks = Chunk.objects.filter(job=self.job, phase=self.name)
        sums = chunks.aggregate(total=Sum("size", default=0), done=Sum("size", filter=Q(done=True), default=0))
        return sums["total"], sums["done"]


class IndexStep(Step[list[Indexed | Rejected]]):
    """Files become samples with thumbnails, or failures. A file that has not changed since it was read is skipped."""

    name = INDEX
    message = "Indexing samples"

    def __init__(self, job: Job, source: Source, claim: Claim) -> None:
        super().__init__(job, claim)
        self.folder = source.folder
        self.skipped: int = self.run.skipped
        earlier = Sample.objects.filter(dataset=self.run.dataset_id).exclude(seen_in_run=self.run.number)
        self._may_skip = earlier.exists()
        # By chunk under way: the samples it would read again.
        self._known: dict[int, dict[str, Sample]] = {}

    def counts(self) -> tuple[int, int]:
        return self.sizes()

    def submit(self, pool: Pool, chunk: Chunk) -> Future[list[Indexed | Rejected]]:
        if self._may_skip:
            self._known[chunk.pk] = self._samples(chunk)
        if files := self._changed(chunk):
            return pool.submit(index_chunk, *self._arguments(files))
        nothing_to_do: Future[list[Indexed | Rejected]] = Future()
        nothing_to_do.set_result([])
        return nothing_to_do

    def one_by_one(self, pool: Pool, chunk: Chunk, error: Exception) -> list[Indexed | Rejected]:
        """Each in a process of its own: one died. Anything else is raised, and no file's fault (a full disk, say)."""
        if not isinstance(error, BrokenProcessPool):
            raise error
        results: list[Indexed | Rejected] = []
        for file in self._changed(chunk):
            try:
                results += pool.isolate(index_chunk, *self._arguments([file]))
            except BrokenProcessPool:
                results.append(Rejected(file.path, "the process that decoded it died"))
        return results

    def write(self, chunk: Chunk, result: list[Indexed | Rejected]) -> list[str]:
        dataset_pk, number = self.run.dataset_id, self.run.number
        known = self._known.pop(chunk.pk, {})
        indexed = [item for item in result if isinstance(item, Indexed)]
        rejected = [(item.path, item.reason) for item in result if isinstance(item, Rejected)]
        unchanged = set(known) - {item.path for item in result}
        Sample.objects.filter(pk__in=[known[path].pk for path in unchanged]).update(seen_in_run=number)
        self.skipped += len(unchanged)
        put_rows(
            [
                Sample(
                    dataset_id=dataset_pk, path=item.path, size=item.size, mtime_ns=item.mtime_ns, sha256=item.sha256,
                    format=item.format, width=item.width, height=item.height, thumbnail_width=item.thumbnail_width,
                    thumbnail_height=item.thumbnail_height, seen_in_run=number, embedding_block=None,
                )
                for item in indexed
            ],
            unique=("dataset", "path"),
        )  # fmt: skip
        if rejected:
            progress.record_failures(self.run.pk, INDEX, rejected)
        # Their thumbnails stay for now: a chunk under way may have found them, for files that have just this content.
        return sorted({known[item.path].sha256 for item in indexed if item.path in known})

    def _samples(self, chunk: Chunk) -> dict[str, Sample]:
        """The samples that earlier runs made of a chunk's files, by path."""
        paths = [path for path, _, _ in chunk.items]
        return {s.path: s for s in Sample.objects.filter(dataset=self.run.dataset_id, path__in=paths)}

    def _changed(self, chunk: Chunk) -> list[FoundFile]:
        """The files of a chunk that have to be read: new, changed, or without their thumbnail."""
        known = self._known.get(chunk.pk, {})
        files = (FoundFile(*item) for item in chunk.items)
        return [file for file in files if not self._is_current(known.get(file.path), file)]

    def _is_current(self, sample: Sample | None, file: FoundFile) -> bool:
        return (
            sample is not None
            and (sample.size, sample.mtime_ns) == (file.size, file.mtime_ns)
            and has_thumbnail(self.thumbnails, sample.sha256)
        )

    def _arguments(self, files: list[FoundFile]) -> tuple[Any, ...]:
        return self.folder, files, str(self.thumbnails), settings.MAX_IMAGE_PIXELS


class EmbedStep(Step[NDArray[np.float32]]):
    """Samples that have no vector of the embedder in force get one. Those that cannot are failures, and samples still:
    the next run tries them again.
    """

    name = EMBED
    message = "Generating embeddings"

    def __init__(self, job: Job, claim: Claim) -> None:
        super().__init__(job, claim)
        self.embedder = load_embedder(settings.EMBEDDER)
        # By chunk under way: why samples of it, by id, have no vector.
        self._failed: dict[int, dict[int, str]] = {}

    def counts(self) -> tuple[int, int]:
        """Of all samples of the dataset: those that have their vectors from earlier runs count as done."""
        samples = Sample.objects.filter(dataset=self.run.dataset_id).count()
        total, done = self.sizes()
        return samples, samples - (total - done)

    def submit(self, pool: Pool, chunk: Chunk) -> Future[NDArray[np.float32]]:
        return pool.submit(embed_chunk, *self._arguments([sha256 for _, sha256 in chunk.items]))

    def one_by_one(self, pool: Pool, chunk: Chunk, error: Exception) -> NDArray[np.float32]:
        """The vectors of those that have one. Each is tried in a process of its own if one died.

        Raises ``error`` where several are all that cannot be embedded: it is the embedder that cannot.
        """
        rows: list[NDArray[np.float32]] = []
        failed: dict[int, str] = {}
        for sample_pk, sha256 in chunk.items:
            try:
                rows.append(self._alone(pool, sha256, error))
            except BrokenProcessPool:
                failed[sample_pk] = f"the process of the embedder {self.embedder.name} died"
            except FileNotFoundError:
                failed[sample_pk] = "its thumbnail is gone"
            except Exception as own:
                failed[sample_pk] = f"the embedder {self.embedder.name} failed: {own or type(own).__name__}"
        if len(failed) == len(chunk.items) > 1:
            raise error
        self._failed[chunk.pk] = failed
        return np.concatenate(rows) if rows else np.empty((0, self.embedder.dimensions), dtype=np.float32)

    def _alone(self, pool: Pool, sha256: str, error: Exception) -> NDArray[np.float32]:
        if isinstance(error, BrokenProcessPool):
            return pool.isolate(embed_chunk, *self._arguments([sha256]))
        return pool.submit(embed_chunk, *self._arguments([sha256])).result()

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

    def _arguments(self, hashes: list[str]) -> tuple[Any, ...]:
        return settings.EMBEDDER, str(self.thumbnails), hashes
