"""The stages of the built-in pipeline, and how its work is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from apps.progress.services import StagePlan
from apps.progress.transitions import State

INDEX: Final = "index"
EMBED: Final = "embed"

# Weights as measured on photographs: decoding an image and making its thumbnail takes most of the time.
STAGES: Final = (
    StagePlan(INDEX, counts_as=State.INDEXING, unit="files", weight=4.0),
    StagePlan(EMBED, counts_as=State.EMBEDDING, unit="samples", weight=1.0),
)

# Items a chunk: small enough that a bar moves several times a second, and that little is done again after a crash;
# large enough that a commit a chunk costs little beside the work. A large folder is cut into larger ones after its
# first 500 files.
INDEX_CHUNK: Final = 32
LARGE_INDEX_CHUNK: Final = 64
EMBED_CHUNK: Final = 64


def cut[T](files: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Cut the files of a scan into the chunks in which they are indexed."""
    iterator = iter(files)
    done = 0
    while chunk := tuple(islice(iterator, INDEX_CHUNK if done < 500 else LARGE_INDEX_CHUNK)):
        done += len(chunk)
        yield chunk
