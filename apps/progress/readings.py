"""The readings that a stage keeps of its work, and its rate: pure functions, without a database and without a clock.

A reading is a pair (seconds of work since the stage began, items done in them). Pauses, the time without a worker, and
items that were there before or were skipped are in neither: `stage_clock` leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

Reading = tuple[float, int]

KEPT: Final = 64
# A reading is kept if `LEAST_SECONDS` and this share of the time so far have passed since the last,
SHARE: Final = 0.008
LEAST_SECONDS: Final = 0.05
# and this share of the time that the whole stage would take at its mean rate.
WHOLE_SHARE: Final = 0.002
# For the latter, the larger of these seconds and this share of the time so far is always enough.
ENOUGH_SECONDS: Final = 0.5
ENOUGH_SHARE: Final = 0.02
# How many changes of a total are kept.
TOTALS_KEPT: Final = 16
# How much denser recent readings are kept than the first ones: (1 + RECENT) to 1.
RECENT: Final = 8.0


def is_due(readings: Sequence[Reading], seconds: float, share: float) -> bool:
    """Whether a reading at ``seconds`` is far enough from the last one to be kept, at this share of the stage.

    A short stage has readings that are close, and a long one does not pay for what it does not need. ``share`` 0: it is
    not known.
    """
    if not readings:
        return True
    enough = max(ENOUGH_SECONDS, ENOUGH_SHARE * seconds)
    wanted = min(WHOLE_SHARE * seconds / share, enough) if share else enough
    return seconds - readings[-1][0] >= max(LEAST_SECONDS, SHARE * seconds, wanted)


def with_reading(readings: Sequence[Reading], seconds: float, done: int) -> list[Reading]:
    """Return the readings with a new one appended. Of more than `KEPT`, the one that is missed least is dropped.

    That is the one with the smallest gap between its neighbours, divided by its age plus an eighth of the whole time.
    So the readings cover the whole stage, recent work nine times as densely as its beginning. The first and the last
    stay.
    """
    kept = [*readings, (round(seconds, 3), done)]
    if len(kept) > KEPT:
        del kept[_least_missed(kept)]
    return kept


def _least_missed(readings: Sequence[Reading]) -> int:
    end = readings[-1][0]
    edge = end + (end - readings[0][0]) / RECENT
    times = [moment for moment, _ in readings]
    gaps = [
        (after - before) / (edge - moment) for before, moment, after in zip(times, times[1:], times[2:], strict=False)
    ]
    return gaps.index(min(gaps)) + 1


def with_total(totals: Sequence[Reading], seconds: float, total: int) -> list[Reading]:
    """Return the totals with a new one appended. Of more than `TOTALS_KEPT`, the two nearest in time become one."""
    kept = [*totals, (round(seconds, 3), total)]
    if len(kept) > TOTALS_KEPT:
        gaps = [after[0] - before[0] for before, after in pairwise(kept[1:])]
        del kept[gaps.index(min(gaps)) + 1]
    return kept


def rate(readings: Sequence[Reading]) -> float | None:
    """Return the items per second over the last quarter of the stage, at least 10 s. None before two readings."""
    if len(readings) < 2:
        return None
    end, done = readings[-1]
    start, before = readings[0]
    for moment, count in reversed(readings[:-1]):
        start, before = moment, count
        if end - moment >= max(10.0, end / 4):
            break
    return (done - before) / (end - start) if end > start else 0.0
