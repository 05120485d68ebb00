"""Near-duplicates are all found, in the order and with the scores of a plain comparison."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.pipeline.images import duplicates
from apps.pipeline.images.duplicates import Batch, Near, nearest_earlier


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("dimensions", [8, 177])
@pytest.mark.parametrize("threshold", [0.9, 0.97, 0.999])
def test_the_most_similar_earlier_sample_is_found(
    monkeypatch: pytest.MonkeyPatch, dimensions: int, threshold: float
) -> None:
    monkeypatch.setattr(duplicates, "ROWS", 16)
    monkeypatch.setattr(duplicates, "COLUMNS", 48)
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(500, dimensions)) + 1)
    for share in (0.0, 0.002, 0.02, 0.2):
        copied = random.integers(0, 500, 40)
        vectors[random.integers(0, 500, 40)] = unit(vectors[copied] + share * random.normal(size=(40, dimensions)))
    ids = np.arange(500, dtype=np.int64) * 3 + 7

    def read() -> Iterator[Batch]:
        for start in range(0, 500, 130):
            yield Batch(ids[start : start + 130], vectors[start : start + 130])

    scores = np.tril(vectors @ vectors.T, -1)
    wanted = {int(ids[row]): float(scores[row].max()) for row in range(500) if scores[row].max() >= threshold}
    compared: list[int] = []
    found = list(nearest_earlier(read, threshold, on_compared=compared.append))
    assert sum(compared) == 500 * 499 // 2
    assert len(wanted) > 20
    assert [near.sample for near in found] == list(wanted)
    for near in found:
        assert near.score == pytest.approx(wanted[near.sample], abs=1e-5)
        row, earlier = (near.sample - 7) // 3, (near.earlier - 7) // 3
        assert earlier < row
        assert scores[row, earlier] == pytest.approx(near.score, abs=1e-5)


def test_nothing_is_similar_to_nothing() -> None:
    assert list(nearest_earlier(lambda: iter(()), 0.9)) == []
    one = Batch(np.array([1]), np.ones((1, 1), np.float32))
    assert list(nearest_earlier(lambda: iter((one,)), 0.9)) == []
    two = Batch(np.array([1, 2]), np.ones((2, 1), np.float32))
    assert list(nearest_earlier(lambda: iter((two,)), 0.9)) == [Near(2, 1, 1.0)]
