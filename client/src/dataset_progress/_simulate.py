"""A whole life of a dataset, for demonstrations and tests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from . import _values as values
from ._counting import Stage
from ._run import Run


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
    """Index and embed ``items`` that do not exist, in about ``seconds``, of which some ``failures`` cannot be read.

    ``error``: the run fails with it half-way through the embedding. ``options`` are those of `Run`. Says whether the
    server has heard of it to the end. Raises `ValueError` for an id that no dataset can have, and where a number is
    below 0.
    """
    values.dataset_id(dataset_id)
    if min(items, seconds, failures) < 0:
        raise ValueError("items, seconds and failures are 0 or more")
    stages = [Stage("indexing", total=items, unit="samples"), Stage("embedding", total=items, weight=2, unit="samples")]
    chance = random.Random(dataset_id)  # noqa: S311 -- a play
    bad = set(chance.sample(range(items), min(failures, items)))
    with Run(dataset_id, stages=stages, **options) as run:
        for stage, share in (("indexing", 1 / 3), ("embedding", 2 / 3)):
            for item in run.track(range(items), stage=stage):
                sleep(seconds * share / items * chance.uniform(0.5, 1.5))
                if stage == "indexing" and item in bad:
                    run.fail_item(f"{item:05}.jpg", "the file is truncated")
                if error is not None and stage == "embedding" and item >= items // 2:
                    return run.close(error)
    return run.close()
