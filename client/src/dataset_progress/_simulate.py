"""Simulate a run, for demonstrations and tests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from ._ids import dataset_id as valid_id
from ._run import Run
from ._stages import Stage

__all__ = ["simulate"]


def simulate(
    dataset_id: str,
    *,
    items: int = 200,
    seconds: float = 20.0,
    failures: int = 3,
    error: str | None = None,
    sleep: Callable[[float], object] = time.sleep,
    **options: Any,
) -> bool:
    """Report a run that indexes and embeds ``items`` imaginary items in about ``seconds``.

    ``failures``: how many items fail. ``error``: if given, the run fails with it half-way through the embedding.
    ``sleep``: called with the seconds to wait. ``options``: those of `Run`.

    Returns whether the server acknowledged everything. Raises `ValueError` for an invalid dataset id and for negative
    numbers.
    """
    dataset_id = valid_id(dataset_id)
    if min(items, seconds, failures) < 0:
        raise ValueError("items, seconds and failures must not be negative")
    stages = [Stage("indexing", total=items, unit="samples"), Stage("embedding", total=items, weight=2, unit="samples")]
    rng = random.Random(dataset_id)  # noqa: S311 -- nothing is secret in a simulation
    failing = set(rng.sample(range(items), min(failures, items)))
    with Run(dataset_id, stages=stages, **options) as run:
        for stage, share in (("indexing", 1 / 3), ("embedding", 2 / 3)):
            for item in run.track(range(items), stage=stage):
                sleep(seconds * share / items * rng.uniform(0.5, 1.5))
                if stage == "indexing" and item in failing:
                    run.fail_item(f"{item:05}.jpg", "the file is truncated")
                if error is not None and stage == "embedding" and item >= items // 2:
                    return run.close(error)
    return run.close()
