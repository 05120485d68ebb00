"""What the index step and the embed step share: they count and commit one chunk after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future

from django.conf import settings

from apps.datasets import services as datasets
from apps.pipeline.images.media import thumbnail_folder
from apps.pipeline.models import Chunk, Job
from apps.progress import services as progress
from apps.progress.models import Run

from .chunks import count_items
from .lease import Lease
from .pool import Pool


class StopRequested(Exception):
    """The attempt is to end here: someone paused or cancelled the run, or this worker is stopping."""


class Step[Result](ABC):
    """A phase that is done in chunks. It goes on from what earlier workers committed."""

    name: str
    skipped: int | None = None  # None: this step skips nothing
    more_present = 0  # samples that the last results have added or brought back

    def __init__(self, job: Job, lease: Lease) -> None:
        self.job = job
        self.lease = lease
        self.run: Run = job.run
        self.thumbnails = thumbnail_folder(self.run.dataset_id)
        self.total, self.current = self.count()
        # What stage and counts do not say: that the run is slower than it could be.
        pace = f"Slowed down to {settings.PACE} a second" if settings.PACE else ""
        with lease.transaction():
            progress.start_stage(self.run.pk, self.name, total=self.total, message=pace)
            progress.report(self.run.pk, current=self.current)

    def count(self) -> tuple[int, int]:
        """Return the number of items of this step, and of those that are done."""
        return count_items(self.job, self.name)

    @abstractmethod
    def submit(self, pool: Pool, chunk: Chunk) -> Future[Result]:
        """Hand a chunk to the pool."""

    @abstractmethod
    def isolate(self, pool: Pool, chunk: Chunk, error: Exception) -> Result:
        """Process a chunk that failed with ``error`` item by item, and make the bad items failures.

        Raises if the error is not the fault of single items.
        """

    @abstractmethod
    def write(self, chunk: Chunk, result: Result) -> list[str]:
        """Write the results of a chunk, within the transaction that counts it.

        Returns the SHA-256 of the contents that these results replace.
        """

    def commit(self, chunk: Chunk, result: Result) -> Run:
        """Write a chunk's results and its progress, or neither. Raises `LeaseLost`, `RunFinished`."""
        with self.lease.transaction(progressed=True):
            replaced = self.write(chunk, result)
            Chunk.objects.filter(pk=chunk.pk).update(done=True, items=replaced)
            self.current += chunk.size
            run = progress.report(self.run.pk, current=self.current, skipped=self.skipped)
            datasets.add_to_sample_count(self.run.dataset_id, self.more_present)
            return run
