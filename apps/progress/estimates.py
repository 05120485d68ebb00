"""Rate, time left, overall percentage and health: pure functions of readings and a clock.

A reading is a pair (seconds since the stage began, items done). Every function takes what it needs and returns a
value; nothing here reads the database or the time of day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import Final

from .transitions import StageState

Reading = tuple[float, int]

READINGS_KEPT: Final = 48
# Two readings nearer than this say nothing about the rate that one of them does not.
SPACING_SECONDS: Final = 0.5

# Seconds without a grown count, and without any sign of life, before a run is called so. A reporter whose usual step
# is long gets more: the factors are multiples of its usual gap between two readings.
SLOW_AFTER: Final = 15.0
SLOW_FACTOR: Final = 4.0
STALLED_AFTER: Final = 60.0
STALLED_FACTOR: Final = 10.0
LOST_AFTER: Final = 120.0
LOST_FACTOR: Final = 20.0


class Health(StrEnum):
    LIVE = "live"
    SLOW = "slow"
    STALLED = "stalled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Part:
    """What the overall percentage needs to know of one stage."""

    state: StageState
    weight: float
    current: int
    total: int


def overall_percent(parts: Sequence[Part], floor: float) -> float:
    """The share of the whole run that is done, 0..100, by weight; never under ``floor``, what was shown before.

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


def with_reading(readings: Sequence[Reading], seconds: float, current: int) -> list[Reading]:
    """The readings with a new one behind them, at most `READINGS_KEPT`; unchanged where the last is too near.

    When they are too many, every second one of the older half goes: the recent past stays dense, the distant past
    keeps its shape, and the first reading always stays.
    """
    kept = list(readings)
    if kept and (seconds - kept[-1][0] < SPACING_SECONDS or current < kept[-1][1]):
        return kept
    kept.append((round(seconds, 2), current))
    if len(kept) > READINGS_KEPT:
        half = READINGS_KEPT // 2
        kept = kept[:half:2] + kept[half:]
    return kept


def _rate_over(readings: Sequence[Reading], seconds: float) -> float:
    """Items per second over the last ``seconds`` of the readings."""
    end, done = readings[-1]
    start, before = readings[0]
    for moment, count in reversed(readings[:-1]):
        start, before = moment, count
        if end - moment >= seconds:
            break
    return (done - before) / (end - start) if end > start else 0.0


def rate(readings: Sequence[Reading]) -> float | None:
    """Items per second of late: over the last quarter of the stage, and 10 s at least. None before two readings."""
    if len(readings) < 2:
        return None
    return _rate_over(readings, max(10.0, readings[-1][0] / 4))


@dataclass(frozen=True, slots=True)
class Range:
    low: float
    high: float


def seconds_left(readings: Sequence[Reading], current: int, total: int, later_weight: float = 0.0) -> Range | None:
    """A range of seconds until the run ends, or None while there is not enough to say.

    The rates of three windows (the last tenth, the last third, the whole stage; 5 s at least) disagree by as much as
    the work is uneven: the fastest and the slowest of them bound the range, a tenth wider. ``later_weight`` is the
    weight of the stages still waiting over the weight of this one, which are taken to last in proportion.
    """
    if len(readings) < 3 or not total or readings[-1][0] - readings[0][0] < 2.0:
        return None
    elapsed = readings[-1][0]
    rates = [_rate_over(readings, max(5.0, elapsed * share)) for share in (0.1, 0.33, 1.0)]
    if min(rates) <= 0:
        return None
    left = max(total - current, 0) + later_weight * total
    return Range(0.9 * left / max(rates), 1.1 * left / min(rates))


def usual_gap(readings: Sequence[Reading]) -> float:
    """The median time between two of the last dozen readings, in seconds; 0 where there are no two."""
    recent = [moment for moment, _ in readings[-12:]]
    gaps = [later - earlier for earlier, later in pairwise(recent)]
    return median(gaps) if gaps else 0.0


def health(*, since_heartbeat: float, since_progress: float, gap: float) -> Health:
    """How a working run fares, from seconds since its last sign of life, since its last count, and its usual gap.

    Silence is told from standing still: *lost* means that nothing at all is heard, *stalled* that the reporter lives
    (or lived a moment ago) and its count stands. Every word is taken back by the next report.
    """
    if since_heartbeat > max(LOST_AFTER, LOST_FACTOR * gap):
        return Health.LOST
    if since_progress > max(STALLED_AFTER, STALLED_FACTOR * gap):
        return Health.STALLED
    if since_progress > max(SLOW_AFTER, SLOW_FACTOR * gap):
        return Health.SLOW
    return Health.LIVE
