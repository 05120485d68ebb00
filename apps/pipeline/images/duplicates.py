"""Find near-duplicates: for each sample of a dataset, the earlier one that is most similar to it.

Exact, in blocks: memory does not grow with the dataset, but for a number for each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.datasets.models import EmbeddingBlock, Sample

from .similar import read_block

# Vectors that are compared with all earlier ones at once. A product of `ROWS` and `COLUMNS` of them stays in the
# processor's cache, which makes it three times as fast as a large one.
BATCH: Final = 32_768
ROWS: Final = 512
COLUMNS: Final = 2048
# A product in so many dimensions tells which pairs cannot be similar enough. The others are compared in all.
_DIMENSIONS: Final = 16
_ROUNDING: Final = np.float32(1e-4)
_PAIRS_AT_ONCE: Final = 20_000
_BLOCKS_AT_ONCE: Final = 64


class Batch(NamedTuple):
    """Sample ids, shape (n,), and their vectors of length 1, shape (n, dimensions)."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]


class Near(NamedTuple):
    """A sample, the earlier one that is most similar, and the cosine of their vectors."""

    sample: int
    earlier: int
    score: float


def read_vectors(dataset_pk: int, embedder: str, dimensions: int) -> Iterator[Batch]:
    """Yield the vectors of a dataset's present samples in order, `BATCH` and a block at most at a time."""
    blocks = EmbeddingBlock.objects.filter(dataset=dataset_pk, embedder=embedder, dimensions=dimensions).order_by("pk")
    waiting: list[Batch] = []
    last = 0
    while page := list(blocks.filter(pk__gt=last)[:_BLOCKS_AT_ONCE]):
        last = page[-1].pk
        present = Sample.objects.present().filter(dataset=dataset_pk, embedding_block__in=page)
        owners = dict(present.values_list("pk", "embedding_block_id"))
        for block in page:
            ids, vectors = read_block(block)
            # Rows that a later run has replaced are of another block.
            current = np.array([owners.get(pk) == block.pk for pk in ids.tolist()], dtype=bool)
            waiting.append(Batch(ids[current], vectors[current]))
        if sum(len(batch.ids) for batch in waiting) >= BATCH:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def nearest_earlier(
    read: Callable[[], Iterator[Batch]],
    threshold: float,
    look: Callable[[], None] = lambda: None,
    on_compared: Callable[[int], None] = lambda pairs: None,
) -> Iterator[Near]:
    """Yield every sample that an earlier one is at least ``threshold`` similar to, with the most similar of them.

    ``read`` yields the same batches whenever it is called. ``look`` is called between products, and may raise to stop.
    ``on_compared`` is called with the number of pairs that were compared since its last call.
    """
    basis: NDArray[np.float32] | None = None
    for number, batch in enumerate(read()):
        if basis is None:
            basis = _basis(batch.vectors)
        search = _Search(batch, basis, np.float32(threshold))
        for earlier_number, earlier in enumerate(read()):
            is_same = earlier_number == number
            search.compare(earlier, look, is_same=is_same)
            count = len(batch.ids)
            on_compared(count * (count - 1) // 2 if is_same else count * len(earlier.ids))
            if is_same:
                break
        yield from search.found()


class _Search:
    """The search for what is similar to the samples of one batch."""

    def __init__(self, batch: Batch, basis: NDArray[np.float32], threshold: np.float32) -> None:
        self._batch = batch
        self._basis = basis
        self._threshold = threshold
        self._compact = _compact(batch.vectors, basis)
        self._score = np.full(len(batch.ids), -np.inf, dtype=np.float32)
        self._earlier = np.zeros(len(batch.ids), dtype=np.int64)

    def compare(self, other: Batch, look: Callable[[], None], *, is_same: bool) -> None:
        """Compare with a batch; with ``is_same``, each sample with those before it."""
        compact = _compact(other.vectors, self._basis)
        for start in range(0, len(self._batch.ids), ROWS):
            look()
            for other_start in range(0, len(other.ids), COLUMNS):
                if is_same and other_start >= start + ROWS:
                    break
                bound = self._compact[start : start + ROWS] @ compact[other_start : other_start + COLUMNS].T
                hopeful = np.flatnonzero(bound.max(axis=1) >= self._threshold - _ROUNDING)
                if not len(hopeful):
                    continue
                rows, columns = np.nonzero(bound[hopeful] >= self._threshold - _ROUNDING)
                rows, columns = hopeful[rows] + start, columns + other_start
                if is_same:
                    is_earlier = columns < rows
                    rows, columns = rows[is_earlier], columns[is_earlier]
                self._keep_best(other, rows, columns)

    def _keep_best(self, other: Batch, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        for start in range(0, len(rows), _PAIRS_AT_ONCE):
            row, column = rows[start : start + _PAIRS_AT_ONCE], columns[start : start + _PAIRS_AT_ONCE]
            scores = np.einsum("ij,ij->i", self._batch.vectors[row], other.vectors[column])
            np.maximum.at(self._score, row, scores)
            is_best = scores == self._score[row]
            self._earlier[row[is_best]] = other.ids[column[is_best]]

    def found(self) -> Iterator[Near]:
        for index in np.flatnonzero(self._score >= self._threshold):
            yield Near(int(self._batch.ids[index]), int(self._earlier[index]), float(self._score[index]))


def _basis(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the directions in which vectors differ most from zero, shape (dimensions, `_DIMENSIONS` at most)."""
    _, directions = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    return directions[:, ::-1][:, :_DIMENSIONS].astype(np.float32)


def _compact(vectors: NDArray[np.float32], basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors whose products are never below the cosines: of what the basis leaves out, only the length counts.

    (By the inequality of Cauchy and Schwarz.)
    """
    within = vectors @ basis
    rest = np.sqrt(np.maximum(0, np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", within, within)))
    return np.column_stack([within, rest]).astype(np.float32)


def _joined(batches: list[Batch]) -> Batch:
    return Batch(np.concatenate([one.ids for one in batches]), np.concatenate([one.vectors for one in batches]))
