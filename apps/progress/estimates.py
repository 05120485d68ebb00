"""Rate and time left: pure functions, without a database and without a clock.

A reading is a pair (seconds since the stage began, items done).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .readings import Reading


def _rate_over(readings: Sequence[Reading], seconds: float) -> float:
    """Return the items per second over the last ``seconds`` of the readings."""
    end, done = readings[-1]
    start, before = readings[0]
    for moment, count in reversed(readings[:-1]):
        start, before = moment, count
        if end - moment >= seconds:
            break
    return (done - before) / (end - start) if end > start else 0.0


@dataclass(frozen=True, slots=True)
class Range:
    low: float
    high: float


def seconds_left(readings: Sequence[Reading], current: int, total: int, later_weight: float = 0.0) -> Range | None:
    """Return the range of seconds until the run ends; None while there are too few readings.

    The rates of three windows (the last tenth, the last third, the whole stage; at least 5 s) differ as much as the
    work is uneven. The fastest and the slowest bound the range, which is then made a tenth wider. ``later_weight`` is
    the weight of the waiting stages over the weight of this one; they are assumed to last in proportion.
    """
    if len(readings) < 3 or not total or readings[-1][0] - readings[0][0] < 2.0:
        return None
    elapsed = readings[-1][0]
    rates = [_rate_over(readings, max(5.0, elapsed * share)) for share in (0.1, 0.33, 1.0)]
    if min(rates) <= 0:
        return None
    left = max(total - current, 0) + later_weight * total
    return Range(0.9 * left / max(rates), 1.1 * left / min(rates))
