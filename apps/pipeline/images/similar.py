"""Which samples look alike: an exact search over the stored vectors, a block at a time, so memory stays flat."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nlargest
from threading import Lock

import numpy as np

from apps.datasets.models import EmbeddingBlock, Sample


@dataclass(frozen=True, slots=True)
class Similar:
    """A sample and the cosine of its vector and the one asked about: 1 is the same direction."""

    sample: Sample
    score: float


# A search reads every vector of its dataset. Many at once would each take as much longer, and all their memory.
_one_at_a_time = Lock()


def similar_to(sample: Sample, limit: int = 12) -> list[Similar]:
    """The ``limit`` samples of the dataset nearest to ``sample`` by cosine, nearest first; without ``sample`` itself.

    Empty where it has no vector yet. Only vectors of the same embedder are compared. One search at a time in a process.
    """
    own = sample.embedding_block
    if own is None:
        return []
    with _one_at_a_time:
        return _nearest(sample, own, limit)


def _nearest(sample: Sample, own: EmbeddingBlock, limit: int) -> list[Similar]:
    ids, vectors = _read(own)
    vector = vectors[np.flatnonzero(ids == sample.pk)[0]]
    blocks = EmbeddingBlock.objects.filter(
        dataset_id=sample.dataset_id, embedder=own.embedder, dimensions=own.dimensions
    )
    # A block may hold rows that a later run has replaced: enough are kept for `limit` to be left without them.
    keep = 4 * limit + 64
    best: list[tuple[float, int, int]] = []
    for block in blocks.iterator(chunk_size=64):
        ids, vectors = _read(block)
        scores = vectors @ vector
        top = np.argpartition(-scores, min(keep, len(scores)) - 1)[:keep]
        best = nlargest(keep, [*best, *((float(scores[i]), int(ids[i]), block.pk) for i in top)])
    wanted = [(score, pk, block_pk) for score, pk, block_pk in best if pk != sample.pk]
    samples = Sample.objects.in_bulk([pk for _, pk, _ in wanted])
    found = [
        Similar(samples[pk], score)
        for score, pk, block_pk in wanted
        if pk in samples and samples[pk].embedding_block_id == block_pk
    ]
    return found[:limit]


def _read(block: EmbeddingBlock) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray]:
    """The sample ids, shape (n,), and vectors, shape (n, dimensions), of a block."""
    ids = np.frombuffer(block.sample_ids, dtype="<i8")
    vectors = np.frombuffer(block.vectors, dtype="<f4").reshape(len(ids), block.dimensions)
    return ids, vectors
