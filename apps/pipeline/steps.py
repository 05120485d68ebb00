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

from apps.datasets.models import EmbeddingBlock, Sample
from apps.datasets.rows import put_rows
from apps.progress import services as progress
from apps.progress.models import Run

from .claim import Claim
from .embedders import embed_chunk, load_embedder
from .imaging import Indexed, Rejected, index_chunk
from .media import drop_thumbnails, has_thumbnail, thumbnails_of
from .models import Chunk, Job, Source
from .plan import EMBED, INDEX
from .pool import Pool
from .scanning import FoundFile


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
    def one_by_one(self, pool: Pool, chunk: Chunk) -> Result:
        """Do a chunk under which a process died, each item in a process of its own, to find the one to blame."""

    @abstractmethod
    def write(self, chunk: Chunk, result: Result) -> None:
        """Write what a chunk yielded; called in the transaction that counts it."""

    def said(self) -> str:
        return f"{self.message}... {self.current}/{self.total}"

    def commit(self, chunk: Chunk, result: Result) -> Run:
        """Write a chunk's results and its progress, or neither. Raises `Superseded`, `RunFinished`."""
        with transaction.atomic():
            self.claim.confirm()
            self.write(chunk, result)
            Chunk.objects.filter(pk=chunk.pk).update(done=True, items=[])
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

    def one_by_one(self, pool: Pool, chunk: Chunk) -> list[Indexed | Rejected]:
        results: list[Indexed | Rejected] = []
        for file in self._changed(chunk):
            try:
                results += pool.alone(index_chunk, *self._arguments([file]))
            except BrokenProcessPool:
                results.append(Rejected(file.path, "the process that decoded it died"))
        return results

    def write(self, chunk: Chunk, result: list[Indexed | Rejected]) -> None:
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
        replaced = {known[item.path].sha256 for item in indexed if item.path in known}
        if replaced := replaced - {item.sha256 for item in indexed}:
            transaction.on_commit(lambda: drop_thumbnails(dataset_pk, replaced))
        if rejected:
            progress.record_failures(self.run.pk, INDEX, rejected)

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
    """Samples that have no vector of the embedder in force get one."""

    name = EMBED
    message = "Generating embeddings"

    def __init__(self, job: Job, claim: Claim) -> None:
        super().__init__(job, claim)
        self.embedder = load_embedder(settings.EMBEDDER)

    def counts(self) -> tuple[int, int]:
        """Of all samples of the dataset: those that have their vectors from earlier runs count as done."""
        samples = Sample.objects.filter(dataset=self.run.dataset_id).count()
        total, done = self.sizes()
        return samples, samples - (total - done)

    def submit(self, pool: Pool, chunk: Chunk) -> Future[NDArray[np.float32]]:
        hashes = [sha256 for _, sha256 in chunk.items]
        return pool.submit(embed_chunk, settings.EMBEDDER, str(self.thumbnails), hashes)

    def one_by_one(self, pool: Pool, chunk: Chunk) -> NDArray[np.float32]:
        """The rows of the chunk. Raises `RuntimeError` that names the sample on which the embedder's process dies."""
        rows = []
        for sample_pk, sha256 in chunk.items:
            try:
                rows.append(pool.alone(embed_chunk, settings.EMBEDDER, str(self.thumbnails), [sha256]))
            except BrokenProcessPool:
                path = Sample.objects.values_list("path", flat=True).get(pk=sample_pk)
                raise RuntimeError(f"The embedder {self.embedder.name} died on {path}.") from None
        return np.concatenate(rows)

    def write(self, chunk: Chunk, result: NDArray[np.float32]) -> None:
        sample_pks = [sample_pk for sample_pk, _ in chunk.items]
        block = EmbeddingBlock.objects.create(
            dataset_id=self.run.dataset_id,
            embedder=self.embedder.name,
            dimensions=result.shape[1],
            sample_ids=np.asarray(sample_pks, dtype="<i8").tobytes(),
            vectors=result.astype("<f4", copy=False).tobytes(),
        )
        Sample.objects.filter(pk__in=sample_pks).update(embedding_block=block)
