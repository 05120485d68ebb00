"""The clock and the readings of a stage, as reports come in: changes of rows in memory, without SQL.

The clock counts seconds of work. It stands while the run is paused and nothing grows, and while nobody gives a sign of
life. The readings count items of work: neither those that were done when the stage began, nor those that are skipped.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from . import readings
from .health import lost_after, slow_after, usual_rate
from .models import Run, Stage

# Where at least this share of the growth is skipped items, none of it counts as work.
SKIPPED_SHARE: Final = 0.9
# The weight of the newest gap between two higher counts in the usual one.
NEWEST: Final = 0.2


def seconds_at(run: Run, stage: Stage, now: datetime) -> float:
    """Return the seconds of work in a stage up to ``now``. The run is not lost."""
    since = stage.worked_until or stage.started_at
    if since is None or run.control == Run.Control.PAUSE:
        return stage.worked_seconds
    return stage.worked_seconds + max((now - since).total_seconds(), 0.0)


def advance(run: Run, stage: Stage, now: datetime) -> None:
    """Move the clock of the active stage to ``now``."""
    stage.worked_seconds = seconds_at(run, stage, now)
    stage.worked_until = now


def leave_out_silence(run: Run, stage: Stage, now: datetime) -> float:
    """Leave the time since the last sign of life out of the clock, if the run was lost or waited for a worker.

    Waiting begins when the run is asked to go on. Returns how long it was.

    Call it before the new sign of life is noted.
    """
    since = stage.worked_until or stage.started_at
    if run.heartbeat_at is None or since is None:
        return 0.0
    heard = max(run.heartbeat_at, since)
    silent = (now - heard).total_seconds()
    is_waiting = run.asked_at is not None or run.queued_at is not None
    if silent <= 0 or (silent <= lost_after(run.sign_gap) and not is_waiting):
        return 0.0
    advance(run, stage, heard)
    stage.worked_until = now
    return silent if run.control != Run.Control.PAUSE else 0.0


def note_sign(run: Run, now: datetime) -> None:
    """Take the time since the last sign of life into the usual one, before the new sign is noted.

    A lost run keeps its usual gap. One that was queued or asked to go on waits no longer, and its time without progress
    begins now.
    """
    gap = (now - run.heartbeat_at).total_seconds() if run.heartbeat_at is not None else 0.0
    if run.asked_at or run.queued_at:
        run.progressed_at, run.asked_at, run.queued_at = now, None, None
    elif 0 < gap <= lost_after(run.sign_gap):
        gap = max(gap, 0.001)
        run.sign_gap = run.sign_gap ** (1 - NEWEST) * gap**NEWEST if run.sign_gap else gap


def note_gap(run: Run, stage: Stage, now: datetime) -> None:
    """Take the time since a count last grew into the usual gap, before the new progress is noted."""
    if run.progressed_at is not None and run.progressed_at != now:
        gap = max((now - run.progressed_at).total_seconds(), 0.001)
        stage.gap = stage.gap ** (1 - NEWEST) * gap**NEWEST if stage.gap else gap


def read(run: Run, stage: Stage, now: datetime, current: int, planned: int, silent: float = 0.0) -> None:
    """Take a reading of the active stage, whose counts become ``current`` and ``planned``.

    ``silent``: the seconds since the last sign of life that were left out. If items were done meanwhile, as by a client
    without a network, the time that these usually take counts as work.
    """
    if not stage.readings:
        advance(run, stage, now)
        stage.not_read, stage.skips_read = current, run.skipped
        stage.readings = readings.with_reading([], stage.worked_seconds, 0)
        return
    last_seconds, last_done = stage.readings[-1]
    done = current - stage.not_read
    if silent:
        usual = last_done / last_seconds if last_seconds else 0.0
        stage.worked_seconds += min(silent, (done - last_done) / usual) if usual else silent
    if current > stage.current and run.control == Run.Control.PAUSE:
        _work_on(stage, now)
    seconds = seconds_at(run, stage, now)
    if stage.planned and planned != stage.planned:
        before = stage.totals or [(stage.readings[0][0], stage.planned)]
        stage.totals = readings.with_total(before, seconds, planned)
    if done < last_done:  # a part is done again: that is work too
        stage.not_read -= last_done - done
    elif readings.is_due(stage.readings, seconds, done / (planned - stage.not_read) if planned > stage.not_read else 0):
        _add(run, stage, now, done)


def close(run: Run, stage: Stage, now: datetime) -> None:
    """Take the last reading of a stage that ends."""
    advance(run, stage, now)
    done = stage.current - stage.not_read
    if stage.readings and stage.worked_seconds > stage.readings[-1][0] and done >= stage.readings[-1][1]:
        _add(run, stage, now, done)


def _work_on(stage: Stage, now: datetime) -> None:
    """Let the time since the clock stopped count: what was under way when the pause was asked for is finished."""
    since = stage.worked_until or now
    stage.worked_seconds += max((now - since).total_seconds(), 0.0)
    stage.worked_until = now


def _add(run: Run, stage: Stage, now: datetime, done: int) -> None:
    last_seconds, last_done = stage.readings[-1]
    skipped, grown = run.skipped - stage.skips_read, done - last_done
    stage.skips_read = run.skipped
    if skipped > 0 and skipped >= SKIPPED_SHARE * grown:
        stage.not_read += grown
        stage.worked_seconds, stage.worked_until = last_seconds, now
        return
    advance(run, stage, now)
    stage.readings = readings.with_reading(stage.readings, stage.worked_seconds, done)
    stage.usual = usual_rate(stage.readings, slow_after(stage.gap))
