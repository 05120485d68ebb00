"""The scan: a folder becomes index chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from apps.datasets import services as datasets
from apps.datasets.models import Sample
from apps.pipeline.images.folders import FolderRefused, reach_of, selection_of, source_folder
from apps.pipeline.images.scanning import (
    Entry,
    FoundFile,
    MountPoint,
    Unreadable,
    file_system_of,
    mount_point,
    scan,
)
from apps.pipeline.images.selection import Tally, describe
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.stages import INDEX
from apps.progress import services as progress
from apps.progress.models import Run

from .chunks import cut_files, new_chunks
from .lease import Lease

# Bytes of UTF-8. PostgreSQL's unique index takes a little over twice as many.
LONGEST_PATH = 1024
SECONDS_BETWEEN_REPORTS = 0.5
FAILURES_AT_ONCE = 500


class ScanStep:
    """Scan the folder of a job into index chunks, and move the job on to its index phase.

    ``check_control`` is called with the run twice a second, and may raise to stop the scan. A scan that was interrupted
    starts over.
    """

    def __init__(self, job: Job, source: Source, lease: Lease, check_control: Callable[[Run], None]) -> None:
        self.job = job
        self.source = source
        self.lease = lease
        self.check_control = check_control
        self.found = 0
        self.tally = Tally()
        self.unreadable: list[Unreadable] = []
        self.reported_at = time.monotonic()

    def run(self) -> None:
        """Raises `FolderRefused` if the folder is gone, became a link, or holds no image although it did before: an
        unmounted disk looks like that.
        """
        root = source_folder(self.source)
        with self.lease.transaction():
            progress.start_stage(self.job.run_id, INDEX, total=0, message="Scanning the folder...")
            Chunk.objects.filter(job=self.job).delete()
            # Those of an attempt that was interrupted are met again.
            progress.take_back_failures(self.job.run_id, INDEX)
        self.job.mounts = {str(mount_point(root)): file_system_of(root)}
        entries = scan(
            root,
            self._report_often,
            selection=selection_of(self.source),
            tally=self.tally,
            reach=reach_of(self.source),
        )
        files = self._usable_files(entries)
        for chunks in new_chunks(self.job, Job.Phase.INDEX, cut_files(files)):
            with self.lease.transaction():
                Chunk.objects.bulk_create(chunks)
        self._record_unreadable()
        self._refuse_emptied_folder()
        with self.lease.transaction():
            self.job.planned = self.found
            self.job.save(update_fields=["planned", "mounts"])
            datasets.note_file_counts(self.job.run.dataset_id, self.tally.as_json())
            self.job.enter_phase(Job.Phase.INDEX)

    def _usable_files(self, entries: Iterator[Entry]) -> Iterator[FoundFile]:
        """Yield the files that can be indexed, note mount points, and record the other entries as failures."""
        for entry in entries:
            if isinstance(entry, MountPoint):
                self.job.mounts[entry.path] = entry.file_system
                continue
            if isinstance(entry, FoundFile) and len(entry.path.encode()) <= LONGEST_PATH:
                self.found += 1
                yield entry
                continue
            if isinstance(entry, FoundFile):
                entry = Unreadable(entry.path, f"its path is over {LONGEST_PATH} bytes long")
            self.unreadable.append(entry)
            if len(self.unreadable) >= FAILURES_AT_ONCE:
                self._record_unreadable()

    def _report_often(self) -> None:
        if time.monotonic() - self.reported_at >= SECONDS_BETWEEN_REPORTS:
            message = f"Scanning the folder... {self.found} files found"
            with self.lease.transaction():
                run = progress.report(self.job.run_id, message=message)
            self.check_control(run)
            self.reported_at = time.monotonic()

    def _refuse_emptied_folder(self) -> None:
        present = Sample.objects.present().filter(dataset=self.job.run.dataset_id)
        # A person who excludes all files means it.
        if not self.found and not self.tally.excluded and (before := present.count()):
            words = describe(self.tally.as_json())
            raise FolderRefused(
                f"No image was found in {self.source.folder}, where there were {before:,}."
                f" Nothing was changed: is it mounted? {words}".rstrip()
            )

    def _record_unreadable(self) -> None:
        with self.lease.transaction():
            failures = [(entry.path, entry.reason) for entry in self.unreadable]
            progress.record_failures(self.job.run_id, INDEX, failures)
        self.unreadable.clear()
