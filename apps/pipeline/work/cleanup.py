"""Delete what a dataset no longer needs: forgotten samples, unused thumbnails, chunks of runs that have ended."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from apps.core.sql import LARGE_ROWS_PER_DELETE, ROWS_PER_DELETE, delete_some
from apps.datasets.models import Dataset, EmbeddingBlock, Sample
from apps.pipeline.images.media import thumbnail_folder, thumbnail_root
from apps.pipeline.images.thumbnails import thumbnail_path
from apps.pipeline.models import Chunk, Job
from apps.pipeline.stages import INDEX
from apps.progress.models import Head, Run
from apps.progress.transitions import FINISHED, UNFINISHED

from .chunks import CHUNKS_PER_QUERY
from .lease import Lease


def delete_some_samples(dataset_pk: int, samples: QuerySet[Sample]) -> int:
    """Delete up to `ROWS_PER_DELETE` samples of a dataset, with their thumbnails. Returns how many.

    0: there are none, or the dataset has an unfinished run, which may find their files.
    """
    rows = list(samples.values_list("pk", "sha256")[:ROWS_PER_DELETE])
    if rows:
        try:
            with _moved_aside() as move_aside, _at_rest(dataset_pk):
                samples.filter(pk__in=[pk for pk, _ in rows]).delete()
                move_aside(_unused_thumbnails(dataset_pk, {sha256 for _, sha256 in rows}))
        except _RunBegan:
            return 0
    return len(rows)


def delete_replaced_thumbnails(job: Job, confirmed: Callable[[], AbstractContextManager[object]]) -> None:
    """Delete the thumbnails of content that files had before they changed. The chunks that are done list it.

    ``confirmed`` begins a transaction in which no other worker processes the dataset, or raises.
    """
    chunks = Chunk.objects.filter(job=job, phase=INDEX, done=True).exclude(items=[])
    position = -1
    while page := list(chunks.filter(position__gt=position).order_by("position")[:CHUNKS_PER_QUERY]):
        with _moved_aside() as move_aside, confirmed():
            for chunk in page:
                move_aside(_unused_thumbnails(job.run.dataset_id, set(chunk.items)))
        position = page[-1].position


def delete_replaced_blocks(job: Job, lease: Lease) -> None:
    """Delete the vectors of which this run or an earlier one has replaced every row."""
    used = Exists(Sample.objects.filter(embedding_block=OuterRef("pk")))
    unused = EmbeddingBlock.objects.filter(~used, dataset=job.run.dataset_id).order_by("pk")
    last = 0
    while pks := list(unused.filter(pk__gt=last).values_list("pk", flat=True)[:LARGE_ROWS_PER_DELETE]):
        with lease.transaction():
            # `only` leaves the vectors unread.
            EmbeddingBlock.objects.filter(pk__in=pks).only("pk").delete()
        last = pks[-1]


def delete_orphaned_thumbnails() -> None:
    """Delete the thumbnails of deleted datasets, which processes wrote while their dataset was being deleted."""
    root = thumbnail_root()
    # The folders first: one that is there belongs to a dataset that is committed, or that is gone for good.
    folders = list(root.iterdir()) if root.is_dir() else []
    known = {str(pk) for pk in Dataset.with_deleted.values_list("pk", flat=True)}
    for folder in folders:
        if folder.name not in known:
            shutil.rmtree(folder, ignore_errors=True)


def delete_leftover_chunks() -> None:
    """Delete the chunks of runs that ended early, and the thumbnails that those runs replaced.

    A dataset with an unfinished run is left alone: that run may have found one of the thumbnails and count on it.
    """
    jobs = Job.objects.filter(run__state__in=FINISHED, chunks__isnull=False).exclude(
        run__dataset__runs__state__in=UNFINISHED
    )
    for job in jobs.select_related("run").distinct():
        try:
            delete_replaced_thumbnails(job, partial(_at_rest, job.run.dataset_id))
        except _RunBegan:
            continue
        delete_chunks(job)


def delete_chunks(job: Job) -> None:
    """Delete the chunks of a run that is over, a few in each transaction. They stay while another run is unfinished."""
    count = 1
    with suppress(_RunBegan):
        while count:
            with _at_rest(job.run.dataset_id):
                count = delete_some(Chunk.objects.filter(job=job), large=[Chunk])


class _RunBegan(Exception):
    """The dataset has an unfinished run."""


@contextmanager
def _at_rest(dataset_pk: int) -> Iterator[None]:
    """A transaction in which no run of the dataset begins. Raises `_RunBegan` if one is unfinished."""
    with transaction.atomic():
        # `begin_run` locks the head too.
        list(Head.objects.select_for_update().filter(dataset=dataset_pk).values_list("pk"))
        if Run.objects.unfinished().filter(dataset=dataset_pk).exists():
            raise _RunBegan
        yield


def _unused_thumbnails(dataset_pk: int, hashes: set[str]) -> list[Path]:
    """The paths of the thumbnails of these contents, except those that a sample of the dataset still has."""
    used = Sample.objects.filter(dataset=dataset_pk, sha256__in=hashes).values_list("sha256", flat=True)
    folder = str(thumbnail_folder(dataset_pk))
    return [Path(thumbnail_path(folder, sha256)) for sha256 in hashes - set(used)]


@contextmanager
def _moved_aside() -> Iterator[Callable[[list[Path]], None]]:
    """Delete files with a transaction that the block contains, or put them back if it does not commit.

    A database may end the session of a worker that stands still, and with it the locks that the worker relies on. The
    commit then fails, and what the worker has moved aside is wanted by another.
    """
    moved: list[tuple[Path, Path]] = []

    def move_aside(paths: list[Path]) -> None:
        for path in paths:
            aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            with suppress(FileNotFoundError):
                path.rename(aside)
                moved.append((path, aside))

    try:
        yield move_aside
    except BaseException:
        for path, aside in moved:
            with suppress(OSError):  # the next run makes the thumbnails again that could not be put back
                aside.rename(path)
        raise
    for _, aside in moved:
        aside.unlink(missing_ok=True)
