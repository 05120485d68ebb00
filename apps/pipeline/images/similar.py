"""Find the samples most similar to one: an exact search over the stored vectors, one block in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nlargest
from threading import Lock
from typing import Final

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from apps.datasets.models import EmbeddingBlock, Sample

from .embedders import load_embedder


@dataclass(frozen=True, slots=True)
class Similar:
    """A sample, and the cosine between its vector and the query's: 1 is the same direction.

    ``turn``: how it has to be turned to be so similar; empty: it is so as it is. ``is_copy``: its content is the same.
    """

    sample: Sample
    score: float
    turn: str = ""
    is_copy: bool = False


# A mirrored or rotated image comes behind one that is as similar as it is.
TURN_COSTS: Final = np.float32(0.01)


# A search reads every vector of its dataset. Concurrent searches would only slow each other and add up their memory.
_one_at_a_time = Lock()


def similar_to(sample: Sample, limit: int = 12) -> list[Similar]:
    """Return the ``limit`` samples of the dataset nearest to ``sample`` by cosine, nearest first, without ``sample``.

    Missing samples are left out. Returns nothing if the sample has no vector yet. Only vectors of the same embedder are
    compared. A process runs one search at a time.
    """
    own = sample.embedding_block
    if own is None:
        return []
    with _one_at_a_time:
        return _nearest(sample, own, limit)


def _nearest(sample: Sample, own: EmbeddingBlock, limit: int) -> list[Similar]:
    ids, vectors = read_block(own)
    vector = vectors[np.flatnonzero(ids == sample.pk)[0]]
    turns = _turns(own.embedder, vector)
    queries = np.stack([vector, *turns.values()], axis=1)
    words = ["", *turns]
    blocks = EmbeddingBlock.objects.filter(
        dataset_id=sample.dataset_id, embedder=own.embedder, dimensions=own.dimensions
    )
    # Blocks may hold rows that a later run has replaced. Keep enough for `limit` to remain without those.
    keep = 4 * limit + 64
    best: list[tuple[float, int, int, int]] = []
    missing_pks = Sample.objects.missing().filter(dataset=sample.dataset_id).values_list("pk", flat=True)
    missing = np.fromiter(missing_pks, dtype=np.int64)
    for block in blocks.iterator(chunk_size=64):
        ids, vectors = read_block(block)
        turned = vectors @ queries
        turned[:, 1:] -= TURN_COSTS
        turn = turned.argmax(axis=1)
        scores = turned[np.arange(len(ids)), turn]
        scores[np.isin(ids, missing)] = -np.inf
        top = np.argpartition(-scores, min(keep, len(scores)) - 1)[:keep]
        if len(best) == keep:  # of most blocks few or none are better
            top = top[scores[top] >= best[-1][0]]
        best = nlargest(keep, [*best, *((float(scores[i]), int(ids[i]), block.pk, int(turn[i])) for i in top)])
    wanted = [(score, pk, block_pk, turn) for score, pk, block_pk, turn in best if pk != sample.pk]
    samples = Sample.objects.present().in_bulk([pk for _, pk, _, _ in wanted])
    found = [
        Similar(
            samples[pk],
            score + float(TURN_COSTS) * bool(turn),
            words[turn],
            is_copy=samples[pk].sha256 == sample.sha256,
        )
        for score, pk, block_pk, turn in wanted
        if pk in samples and samples[pk].embedding_block_id == block_pk
    ]
    return found[:limit]


def _turns(name: str, vector: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the vectors of the turned image, if the embedder of that name is the one in use and can tell them."""
    embedder = load_embedder(settings.EMBEDDER)
    turns = getattr(embedder, "turns", None)
    return turns(vector) if embedder.name == name and turns is not None else {}


def read_block(block: EmbeddingBlock) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray]:
    """Return the sample ids of a block, shape (n,), and its vectors, shape (n, dimensions)."""
    ids = np.frombuffer(block.sample_ids, dtype="<i8")
    vectors = np.frombuffer(block.vectors, dtype="<f4").reshape(len(ids), block.dimensions)
    return ids, vectors
