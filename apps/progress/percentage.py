"""The percentage of a run that is done: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .transitions import StageState


@dataclass(frozen=True, slots=True)
class Part:
    """A stage as the overall percentage needs it."""

    state: StageState
    weight: float
    current: int
    total: int


def overall_percent(parts: Sequence[Part], floor: float) -> float:
    """Return the percentage of the whole run that is done, by weight, and never below ``floor``, the last one.

    A stage whose total is not known counts for nothing until it is done.
    """
    weight = sum(part.weight for part in parts)
    if not weight:
        return floor
    done = 0.0
    for part in parts:
        if part.state in (StageState.DONE, StageState.SKIPPED):
            done += part.weight
        elif part.total:
            done += part.weight * min(part.current / part.total, 1.0)
    return min(max(100.0 * done / weight, floor), 100.0)
