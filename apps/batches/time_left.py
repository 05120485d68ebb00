"""The time left of a batch: a pure function. Its datasets are done side by side, on as many workers as work on it now.

What is under way takes what each of them says of its own time left. Those that wait follow on whichever worker is free
first, and take what the others of the batch took.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from statistics import quantiles
from typing import Final

from apps.progress.estimates import SecondsRange

# How far a single duration is taken to differ from that of the next dataset, as a factor.
SINGLE_SPREAD: Final = 1.5


def usual_duration(durations: Sequence[float]) -> SecondsRange | None:
    """Return what half of the datasets took, in seconds; None where nobody knows yet."""
    if not durations:
        return None
    if len(durations) == 1:
        return SecondsRange(durations[0] / SINGLE_SPREAD, durations[0] * SINGLE_SPREAD)
    first, _, third = quantiles(durations, n=4, method="inclusive")
    return SecondsRange(first, third)


def time_left(running: Sequence[SecondsRange | None], waiting: int, usual: SecondsRange | None) -> SecondsRange | None:
    """Return the seconds until the last dataset is done; None where there is not enough to say.

    ``running``: what is left of each that is worked on, None where that is not known. ``waiting``: how many come after
    them. ``usual``: what one takes.
    """
    known = [left or usual for left in running]
    if not known or (waiting and usual is None):
        return None
    ends = [left for left in known if left is not None]
    if len(ends) < len(known):
        return None
    each = usual or SecondsRange(0.0, 0.0)
    return SecondsRange(
        _last_end([left.low for left in ends], waiting, each.low),
        _last_end([left.high for left in ends], waiting, each.high),
    )


def _last_end(ends: list[float], waiting: int, each: float) -> float:
    """Return when the last of ``waiting`` tasks ends, each begun by whoever is free first."""
    heapq.heapify(ends)
    for _ in range(waiting):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)
