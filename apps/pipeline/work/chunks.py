"""Chunks: what is handed to a process at once, and committed at once with its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched, islice
from typing import Any, Final

from django.conf import settings
from django.db.models import Q, Sum

from apps.pipeline.images.scanning import FoundFile
from apps.pipeline.models import Chunk, Job

# Items per chunk. Small enough that a bar moves several times a second and a crash repeats little work; large enough
# that one commit per chunk costs little. After its first `SMALL_CHUNK_FILES` files a folder is cut into larger chunks.
INDEX_CHUNK: Final = 32
LARGE_INDEX_CHUNK: Final = 64
SMALL_CHUNK_FILES: Final = 500
EMBED_CHUNK: Final = 64

# Each chunk holds dozens of items, so few rows make a large statement.
CHUNKS_PER_QUERY: Final = 16


class PlanBroken(Exception):
    """The chunks that are done do not add up to what the scan found."""


def cut_files(files: Iterable[FoundFile]) -> Iterator[tuple[FoundFile, ...]]:
    """Cut the files of a scan into the chunks in which they are indexed."""
    iterator = iter(files)
    count = 0
    while files := tuple(islice(iterator, chunk_size(_files_after(count)))):
        count += len(files)
        yield files


def _files_after(count: int) -> int:
    return INDEX_CHUNK if count < SMALL_CHUNK_FILES else LARGE_INDEX_CHUNK


def chunk_size(items: int) -> int:
    """Return how many items a chunk holds: ``items``, or what `PACE` allows in a second, if that is less."""
    return min(items, settings.PACE or items)


def new_chunks(job: Job, phase: Job.Phase, cuts: Iterable[Sequence[Any]]) -> Iterator[tuple[Chunk, ...]]:
    """Yield unsaved chunks of the items in ``cuts``, in groups that one statement can insert."""
    chunks = (
        Chunk(job=job, phase=phase, position=position, items=items, size=len(items))
        for position, items in enumerate(cuts)
    )
    return batched(chunks, CHUNKS_PER_QUERY)


def pending_chunks(job: Job, phase: str) -> Iterator[Chunk]:
    """Yield the chunks that are not done, in order.

    Fetched in pages: a cursor that stays open over the commits in between would keep an old snapshot of the database,
    from which SQLite refuses to write.
    """
    position = -1
    while True:
        chunks = Chunk.objects.filter(job=job, phase=phase, done=False, position__gt=position).order_by("position")
        page = list(chunks[:CHUNKS_PER_QUERY])
        if not page:
            return
        yield from page
        position = page[-1].position


def count_items(job: Job, phase: str) -> tuple[int, int]:
    """Return the number of items in the chunks of a phase, and in those of them that are done."""
    sums = Chunk.objects.filter(job=job, phase=phase).aggregate(
        total=Sum("size", default=0), done=Sum("size", filter=Q(done=True), default=0)
    )
    return sums["total"], sums["done"]


def check_plan(job: Job) -> None:
    """Raise `PlanBroken` unless all files that the scan found are indexed: before samples become missing."""
    _, done = count_items(job, Job.Phase.INDEX)
    if done != job.planned:
        raise PlanBroken(
            f"Only {done:,} of the {job.planned:,} files that were found are indexed. No sample was marked as missing."
        )
