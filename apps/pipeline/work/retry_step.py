"""The scan of a run that reads only the files on which the last one failed."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator

from apps.core.beneath import Folder, OutsideFolder
from apps.pipeline.images.folders import source_folder
from apps.pipeline.images.scanning import FoundFile, Unreadable, reason_of
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.stages import INDEX
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run

from .chunks import cut_files, new_chunks
from .lease import Lease


def plan_retry(job: Job, source: Source, lease: Lease, look: Callable[[], None]) -> bool:
    """Cut the files that failed into index chunks, and move the job on to its index phase. Returns False, and changes
    nothing, where the whole folder has to be scanned: a failure is none of a file, or not all failures are listed.

    A file that is gone is left out. ``look`` is called before each file, and may raise to stop. A planning that was
    interrupted starts over. Raises `FolderRefused`.
    """
    last = Run.objects.filter(dataset=job.run.dataset_id, number__lt=job.run.number).order_by("-number").first()
    if last is None or last.failed > last.failures_listed:
        return False
    paths = list(
        ItemFailure.objects.filter(run=last, stage=INDEX).order_by("pk").values_list("item", flat=True).iterator()
    )
    with Folder(str(source_folder(source))) as folder:
        entries: list[FoundFile | Unreadable] = []
        for path in dict.fromkeys(paths):
            look()
            entries += _entries_at(folder, path)
    if any(isinstance(entry, Unreadable) and entry.is_directory for entry in entries):
        return False
    files = [entry for entry in entries if isinstance(entry, FoundFile)]
    with lease.transaction():
        progress.start_stage(job.run_id, INDEX, total=0, message="Looking for the files that failed...")
        Chunk.objects.filter(job=job).delete()
        progress.take_back_failures(job.run_id, INDEX)
    for chunks in new_chunks(job, Job.Phase.INDEX, cut_files(files)):
        with lease.transaction():
            Chunk.objects.bulk_create(chunks)
    with lease.transaction():
        unreadable = [(entry.path, entry.reason) for entry in entries if isinstance(entry, Unreadable)]
        progress.record_failures(job.run_id, INDEX, unreadable)
        job.planned = len(files)
        job.save(update_fields=["planned"])
        job.enter_phase(Job.Phase.INDEX)
    return True


def _entries_at(folder: Folder, path: str) -> Iterator[FoundFile | Unreadable]:
    """Yield what is at the path now; nothing where it is gone."""
    if path.startswith("…") or "\\" in path or path in ("", "."):
        yield Unreadable(path, "", is_directory=True)  # no name of a file, or not all of it
        return
    try:
        status = folder.status(path)
    except FileNotFoundError:
        return
    except OutsideFolder:
        yield Unreadable(path, "a link that leads outside the folder is not followed")
    except OSError as error:
        yield Unreadable(path, reason_of(error))
    else:
        if stat.S_ISREG(status.st_mode):
            yield FoundFile(path, status.st_size, status.st_mtime_ns)
        else:
            yield Unreadable(path, "", is_directory=True)
