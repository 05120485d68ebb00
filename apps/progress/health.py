"""Whether a run is alive and makes progress: pure functions, without a database and without a clock.

Two clocks that are never mixed: the time since the last sign of life, and the time since the last progress. Each has a
rhythm of its own, and every threshold is a setting or a multiple of that rhythm, whichever is longer. `sign_gap` is the
usual time between two signs of life, `gap` that between two higher counts; 0 where it is not known yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import Final

from django.conf import settings

# By how many usual gaps a threshold is exceeded at least.
SLOW_FACTOR: Final = 4.0
STALLED_FACTOR: Final = 10.0
SILENT_FACTOR: Final = 6.0
LOST_FACTOR: Final = 20.0
# The usual speed is the median over so many equal times; over fewer than the least, none is usual.
MOST_BINS: Final = 12
LEAST_BINS: Final = 4


class Health(StrEnum):
    LIVE = "live"
    SLOW = "slow"
    STALLED = "stalled"
    LOST = "lost"


# What a run of each health lacks, in two words.
WORDS: Final = {Health.SLOW: "Slow", Health.STALLED: "No progress", Health.LOST: "No contact"}


def slow_after(gap: float) -> float:
    """Return over how many seconds a stage is compared with what it usually does in that time."""
    return max(settings.SLOW_AFTER, SLOW_FACTOR * gap)


def stalled_after(gap: float) -> float:
    """Return after how many seconds without a higher count a reporter that lives is stalled."""
    return max(settings.STALLED_AFTER, STALLED_FACTOR * gap)


def silent_after(sign_gap: float) -> float:
    """Return after how many seconds without a sign of life a reporter is not called alive any more."""
    return max(settings.SILENT_AFTER, SILENT_FACTOR * sign_gap)


def lost_after(sign_gap: float) -> float:
    """Return after how many seconds without a sign of life a reporter is lost."""
    return max(settings.LOST_AFTER, LOST_FACTOR * sign_gap)


def assess(*, since_sign: float, since_progress: float, sign_gap: float, gap: float, is_behind: bool = False) -> Health:
    """Return the health of a working run from the seconds since its last sign of life and since its last progress.

    *Lost*: no sign of life for long. *Stalled*: signs of life come, but no progress. *Slow*: less than usual is done
    (``is_behind``), or signs of life are overdue. The next sign makes the run live again.
    """
    if since_sign > lost_after(sign_gap):
        return Health.LOST
    is_silent = since_sign > silent_after(sign_gap)
    if not is_silent and since_progress > stalled_after(gap):
        return Health.STALLED
    if is_behind or (is_silent and sign_gap):
        return Health.SLOW
    return Health.LIVE


def usual_rate(readings: Sequence[tuple[float, int]], window: float) -> float:
    """Return the items per second that a stage usually does: the median over equal times, each ``window`` s or longer.

    0 where the readings cover fewer than `LEAST_BINS` such times. The median knows no burst at the beginning.
    """
    if not readings or window <= 0:
        return 0.0
    start, end = readings[0][0], readings[-1][0]
    bins = min(int((end - start) // window), MOST_BINS)
    if bins < LEAST_BINS:
        return 0.0
    length = (end - start) / bins
    counts = [count_at(readings, start + length * edge) for edge in range(bins + 1)]
    return median(after - before for before, after in pairwise(counts)) / length


def count_at(readings: Sequence[tuple[float, int]], seconds: float) -> float:
    """Return how many items were done at ``seconds``, between two readings in proportion."""
    place = bisect_right(readings, seconds, key=lambda reading: reading[0])
    if place == 0:
        return float(readings[0][1])
    if place == len(readings):
        return float(readings[-1][1])
    (before, fewer), (after, more) = readings[place - 1], readings[place]
    return fewer + (more - fewer) * (seconds - before) / (after - before)


def is_behind(readings: Sequence[tuple[float, int]], seconds: float, done: int, window: float, usual: float) -> bool:
    """Whether the last ``window`` seconds before ``seconds`` have done less than a quarter of what is ``usual``.

    ``done``: the items done at ``seconds``. False where nothing is usual yet.
    """
    if not usual or not readings:
        return False
    return done - count_at(readings, seconds - window) < usual * window / SLOW_FACTOR
