"""The index step: files become samples with thumbnails, or failures."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from django.conf import settings

from apps.datasets import services as datasets
from apps.datasets.models import Sample
from apps.pipeline.images.folders import reach_of
from apps.pipeline.images.media import has_thumbnail
from apps.pipeline.images.scanning import FoundFile
from apps.pipeline.images.verify import Indexed, Limits, Rejected, index_chunk
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.stages import INDEX
from apps.progress import services as progress

from .lease import Lease
from .pool import ItemTimedOut, Pool
from .step import Step

# What tells a sample, and what an image that was read again replaces.
_UNIQUE = ["dataset", "path"]
_REPLACED = [field.name for field in Sample._meta.concrete_fields if field.name not in ("id", *_UNIQUE)]


class IndexStep(Step[list[Indexed | Rejected]]):
    """Read each file of a folder. A file that has not changed since an earlier run read it is skipped."""

    name = INDEX

    def __init__(self, job: Job, source: Source, lease: Lease) -> None:
        super().__init__(job, lease)
        self.folder = source.folder
        self.reach = reach_of(source)
        self.limits = Limits(
            max_pixels=settings.MAX_IMAGE_PIXELS,
            max_bytes=settings.MAX_IMAGE_BYTES,
            keep_damaged=settings.DAMAGED == "keep",
        )
        self.skipped: int = self.run.skipped
        present = Sample.objects.present().filter(dataset=self.run.dataset_id)
        earlier = Sample.objects.filter(dataset=self.run.dataset_id).exclude(seen_in_run=self.run.number)
        self._has_earlier_samples = earlier.exists()
        with lease.transaction():  # an earlier version may have written samples without counting them
            datasets.set_sample_count(self.run.dataset_id, present.count())
        # For each chunk in the pool: the samples that earlier runs made of its files, by path.
        self._earlier: dict[int, dict[str, Sample]] = {}

    def submit(self, pool: Pool, chunk: Chunk) -> Future[list[Indexed | Rejected]]:
        if self._has_earlier_samples:
            self._earlier[chunk.pk] = self._earlier_samples(chunk)
        if files := self._changed_files(chunk):
            return pool.submit(index_chunk, *self._arguments(files))
        nothing_to_read: Future[list[Indexed | Rejected]] = Future()
        nothing_to_read.set_result([])
        return nothing_to_read

    def isolate(self, pool: Pool, chunk: Chunk, error: Exception) -> list[Indexed | Rejected]:
        """Read each file in a process of its own, to find the one under which a process died."""
        if not isinstance(error, BrokenProcessPool):
            raise error  # a full disk, for example: `index_chunk` raises nothing that is the fault of a file
        results: list[Indexed | Rejected] = []
        for file in self._changed_files(chunk):
            try:
                results += pool.isolate(index_chunk, *self._arguments([file]))
            except ItemTimedOut as timeout:
                results.append(Rejected(file.path, str(timeout)))
            except BrokenProcessPool:
                results.append(Rejected(file.path, "the process that decoded it died"))
        return results

    def write(self, chunk: Chunk, result: list[Indexed | Rejected]) -> list[str]:
        earlier = self._earlier.pop(chunk.pk, {})
        indexed = [item for item in result if isinstance(item, Indexed)]
        rejected = [(item.path, item.reason) for item in result if isinstance(item, Rejected)]
        unread = set(earlier) - {item.path for item in result}
        unchanged = [earlier[path].pk for path in unread]
        there = {path for path, sample in earlier.items() if sample.missing_since is None}
        self.more_present = len((unread | {item.path for item in indexed}) - there)
        Sample.objects.filter(pk__in=unchanged).update(seen_in_run=self.run.number, missing_since=None)
        self.skipped += len(unchanged)
        Sample.objects.bulk_create(
            [self._sample(item) for item in indexed],
            update_conflicts=True,
            unique_fields=_UNIQUE,
            update_fields=_REPLACED,
        )
        if rejected:
            progress.record_failures(self.run.pk, INDEX, rejected)
        # The thumbnails of replaced content stay until the phase ends: another chunk may have found one for a file
        # that has that same content.
        return sorted({earlier[item.path].sha256 for item in indexed if item.path in earlier})

    def _sample(self, item: Indexed) -> Sample:
        return Sample(
            dataset_id=self.run.dataset_id,
            path=item.path,
            size=item.size,
            mtime_ns=item.mtime_ns,
            sha256=item.sha256,
            format=item.format,
            width=item.width,
            height=item.height,
            thumbnail_width=item.thumbnail_width,
            thumbnail_height=item.thumbnail_height,
            damage=item.damage,
            note=item.note,
            seen_in_run=self.run.number,
            missing_since=None,
            embedding_block=None,
        )

    def _earlier_samples(self, chunk: Chunk) -> dict[str, Sample]:
        paths = [path for path, _, _ in chunk.items]
        return {s.path: s for s in Sample.objects.filter(dataset=self.run.dataset_id, path__in=paths)}

    def _changed_files(self, chunk: Chunk) -> list[FoundFile]:
        """The files of a chunk that must be read: new, changed, or without a thumbnail."""
        earlier = self._earlier.get(chunk.pk, {})
        files = (FoundFile(*item) for item in chunk.items)
        return [file for file in files if not self._is_current(earlier.get(file.path), file)]

    def _is_current(self, sample: Sample | None, file: FoundFile) -> bool:
        return (
            sample is not None
            and (sample.size, sample.mtime_ns) == (file.size, file.mtime_ns)
            and has_thumbnail(self.thumbnails, sample.sha256)
        )

    def _arguments(self, files: list[FoundFile]) -> tuple[Any, ...]:
        return self.folder, files, str(self.thumbnails), self.limits, self.reach
