"""Whether a run is alive and makes progress: pure functions, without a database and without a clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

# Seconds without a higher count (slow, stalled) or without any report (lost). A reporter with long steps gets more:
# a factor times its usual gap between two higher counts (`Stage.gap`).
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


def lost_after(gap: float) -> float:
    """Return after how many seconds without a report a reporter is lost. ``gap``: its usual time between counts."""
    return max(LOST_AFTER, LOST_FACTOR * gap)


def assess(*, since_heartbeat: float, since_progress: float, gap: float) -> Health:
    """Return the health of a working run from the seconds since its last report and since its last higher count.

    *Lost*: nothing is heard at all. *Stalled*: the reporter is heard, but its count does not grow. ``gap``: its usual
    seconds between two higher counts. The next report makes the run live again.
    """
    if since_heartbeat > lost_after(gap):
        return Health.LOST
    if since_progress > max(STALLED_AFTER, STALLED_FACTOR * gap):
        return Health.STALLED
    if since_progress > max(SLOW_AFTER, SLOW_FACTOR * gap):
        return Health.SLOW
    return Health.LIVE
