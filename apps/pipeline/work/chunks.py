"""Cuts the work of a phase into chunks, which are all that the steps know of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import batched

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Left
from django.db.models.lookups import Exact

from apps.datasets.models import Sample
from apps.pipeline.images.embedders import load_embedder
from apps.pipeline.images.folders import FolderRefused, readable_folder
from apps.pipeline.images.media import drop_thumbnails
from apps.pipeline.images.scanning import FoundFile, Unreadable, scan
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.stages import EMBED, EMBED_CHUNK, INDEX, cut
from apps.progress import services as progress
from apps.progress.models import Run
from apps.progress.transitions import FINISHED, UNFINISHED

from .lease import Claim

# Bytes of UTF-8: what a unique index of PostgreSQL takes, with room to spare.
LONGEST_PATH = 1024
SECONDS_BETWEEN_REPORTS = 0.5
# Rows deleted by one statement.
BATCH = 500
# Chunks made by one statement: each holds dozens of files.
CHUNKS_AT_ONCE = 16


def plan_indexing(job: Job, source: Source, claim: Claim, obey: Callable[[Run], None]) -> None:
    """Scan the folder into index chunks, and pass on to the next phase with the last of them.

    A scan that was cut off is begun anew. ``obey`` is called with the run twice a second, and may raise to stop it.
    Samples in folders that cannot be read are kept as they are. Raises `FolderRefused` where the folder is gone, is
    another now, or has no image any more where it had some: a disk that is not mounted looks like this.
    """
    root = readable_folder(source.folder)
    if str(root) != source.folder:
        raise FolderRefused(f"The folder {source.folder} has become a link, which is not followed.")
    said = "Scanning the folder"
    progress.start_stage(job.run_id, INDEX, total=0, message=f"{said}...")
    Chunk.objects.filter(job=job).delete()
    unreadable: list[Unreadable] = []
    found = 0
    reported = time.monotonic()

    def report_often() -> None:
        nonlocal reported
        if time.monotonic() - reported >= SECONDS_BETWEEN_REPORTS:
            obey(progress.report(job.run_id, message=f"{said}... {found} files found"))
            reported = time.monotonic()

    def wanted(entries: Iterable[FoundFile | Unreadable]) -> Iterator[FoundFile]:
        for entry in entries:
            if isinstance(entry, Unreadable):
                unreadable.append(entry)
            elif len(entry.path.encode()) > LONGEST_PATH:
                unreadable.append(Unreadable(entry.path, f"its path is over {LONGEST_PATH} bytes long"))
            else:
                yield entry

    def chunks() -> Iterator[Chunk]:
        nonlocal found
        for position, files in enumerate(cut(wanted(scan(root, report_often)))):
            found += len(files)
            yield Chunk(job=job, phase=INDEX, position=position, items=files, size=len(files))

    for page in batched(chunks(), CHUNKS_AT_ONCE):
        with transaction.atomic():
            claim.confirm()
            Chunk.objects.bulk_create(page)
    samples = Sample.objects.filter(dataset=job.run.dataset_id)
    if not found and (before := samples.count()):
        raise FolderRefused(
            f"No image was found in {source.folder}, where there were {before:,}. Nothing was changed: is it mounted?"
        )
    with transaction.atomic():
        _pass_on(job, Job.Phase.INDEX, claim)
        if unreadable:
            progress.record_failures(job.run_id, INDEX, [(entry.path, entry.reason) for entry in unreadable])
        for entry in unreadable:
            if entry.is_directory:
                inside = f"{entry.path}/"
                samples.filter(Exact(Left("path", len(inside)), inside)).update(seen_in_run=job.run.number)


def plan_embedding(job: Job, claim: Claim) -> None:
    """Cut the samples that have no vector of the embedder in force into chunks, and pass on to their phase."""
    embedder = load_embedder(settings.EMBEDDER).name
    samples = (
        Sample.objects.filter(dataset=job.run.dataset_id)
        .exclude(embedding_block__embedder=embedder)
        .order_by("pk")
        .values_list("pk", "sha256")
    )
    with transaction.atomic():
        _pass_on(job, Job.Phase.EMBED, claim)
        for page in batched(enumerate(batched(samples.iterator(), EMBED_CHUNK)), CHUNKS_AT_ONCE):
            Chunk.objects.bulk_create(
                Chunk(job=job, phase=EMBED, position=position, items=items, size=len(items)) for position, items in page
            )


def forget_missing(job: Job) -> None:
    """Delete the samples whose files the run did not meet, with their thumbnails."""
    gone = Sample.objects.filter(dataset=job.run.dataset_id).exclude(seen_in_run=job.run.number)
    while rows := list(gone.values_list("pk", "sha256")[:BATCH]):
        Sample.objects.filter(pk__in=[pk for pk, _ in rows]).delete()
        drop_thumbnails(job.run.dataset_id, {sha256 for _, sha256 in rows})


def drop_replaced(job: Job) -> None:
    """Delete the thumbnails of content that no sample has any more, since its file has changed."""
    done = Chunk.objects.filter(job=job, phase=INDEX, done=True).exclude(items=[])
    for items in done.values_list("items", flat=True).iterator():
        drop_thumbnails(job.run.dataset_id, set(items))


def clear_up() -> None:
    """Delete what is left of the work of runs that ended before it was done, once no run of their dataset goes on."""
    left = Job.objects.filter(run__state__in=FINISHED, chunks__isnull=False).exclude(
        run__dataset__runs__state__in=UNFINISHED
    )
    for job in left.select_related("run").distinct():
        drop_replaced(job)
        Chunk.objects.filter(job=job).delete()


def _pass_on(job: Job, phase: Job.Phase, claim: Claim) -> None:
    claim.confirm()
    job.phase = phase
    job.save(update_fields=["phase"])
