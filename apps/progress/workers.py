"""The workers of a stage: who is active, who has fallen silent, who is done. Changes of rows in memory, without SQL.

A stage counts its workers by the time of their last sign of life, in steps of `STEP` seconds (``Stage.signs``), so that
whoever shows a dataset can tell how many are silent at any moment without reading a row for each worker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from . import listening
from .health import Health, assess, lost_after, silent_after
from .models import Run, Stage, WorkerShare
from .transitions import StageState

STEP: Final = 5
# How many steps are kept apart. Beyond that, the two oldest are merged, under the later one's time.
MOST_STEPS: Final = 24
# Over about how many seconds the rate of a worker is.
RATE_SECONDS: Final = 30.0

# The step of a worker's last sign of life; None of one that is done, or was not counted yet.
SignStep = int | None


class WorkerState(StrEnum):
    ACTIVE = "active"
    SILENT = "silent"
    DONE = "done"


def is_done(share: WorkerShare) -> bool:
    """Whether a worker has done its share of the stage, or has left."""
    return share.left_at is not None or 0 < share.total <= share.current


def sign_step_of(share: WorkerShare) -> SignStep:
    return None if share.heard_at is None or is_done(share) else step_of(share.heard_at)


def step_of(moment: datetime) -> int:
    return int(moment.timestamp()) // STEP * STEP


def note_sign(share: WorkerShare, now: datetime, grown: int = 0) -> None:
    """Note that a worker was heard, and has done ``grown`` items more. A sign is noted once in `STEP` seconds."""
    if grown:
        if share.progressed_at is not None and (seconds := (now - share.progressed_at).total_seconds()) > 0:
            newest = 1.0 - math.exp(-seconds / RATE_SECONDS) if share.rate else 1.0
            share.rate += newest * (grown / seconds - share.rate)
        share.progressed_at = now
    if grown or share.heard_at is None or share.left_at or (now - share.heard_at).total_seconds() >= STEP:
        share.heard_at, share.left_at = now, None


def count(stage: Stage, share: WorkerShare, before: SignStep, *, was_done: bool) -> None:
    """Count a worker of a stage by its last sign. ``before``, ``was_done``: how it was counted until now."""
    after, done = sign_step_of(share), is_done(share)
    stage.workers_done += done - was_done
    if before != after:
        stage.signs = moved(stage.signs, before, after)


def moved(signs: Iterable[Sequence[int]], before: SignStep, after: SignStep) -> list[list[int]]:
    """Return the counts of workers by step, in order, with one moved from one step to another."""
    counts = {step: number for step, number in signs}  # noqa: C416 -- the pairs are lists once they were stored
    if before is not None:
        # Steps that were merged have the later one's time.
        step = min((each for each in counts if each >= before), default=None)
        if step is not None:
            counts[step] -= 1
    if after is not None:
        counts[after] = counts.get(after, 0) + 1
    steps = [[step, number] for step, number in sorted(counts.items()) if number > 0]
    if len(steps) > MOST_STEPS:
        (_, oldest), (step, number) = steps[:2]
        steps[:2] = [[step, oldest + number]]
    return steps


def silent_seconds(run: Run, stage: Stage) -> float:
    """Return after how many seconds without a sign a worker of the stage is silent.

    Its usual gap is taken to be the run's usual gap times the number of workers that are counted.
    """
    return silent_after(run.sign_gap * sum(number for _, number in stage.signs))


def is_silent(step: int, seconds: float, now: datetime) -> bool:
    """Whether no worker of a step can have been heard within ``seconds``."""
    heard_by = datetime.fromtimestamp(step + STEP, UTC)
    return (now - heard_by).total_seconds() >= seconds and not listening.is_unheard(heard_by, seconds, now)


def silent_workers(run: Run, stage: Stage, now: datetime) -> int:
    """Return how many workers of the stage under way are silent."""
    if not stage.signs:
        return 0
    seconds = silent_seconds(run, stage)
    return sum(number for step, number in stage.signs if is_silent(step, seconds, now))


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a stage as it is now.

    ``health``: None unless it is at work on the stage under way, and while the server waits to hear it again.
    """

    share: WorkerShare
    state: WorkerState
    health: Health | None


def worker_of(run: Run, share: WorkerShare, now: datetime, *, works: bool) -> Worker:
    """Return how a worker is. ``works``: whether its run is working, and neither paused nor waiting."""
    stage, step = share.stage, sign_step_of(share)
    if stage.state != StageState.ACTIVE or step is None or share.heard_at is None:
        return Worker(share, WorkerState.DONE, None)
    if not works:
        return Worker(share, WorkerState.ACTIVE, None)
    workers = sum(number for _, number in stage.signs)
    state = WorkerState.SILENT if is_silent(step, silent_seconds(run, stage), now) else WorkerState.ACTIVE
    health = assess(
        since_sign=(now - share.heard_at).total_seconds(),
        since_progress=(now - (share.progressed_at or share.heard_at)).total_seconds(),
        sign_gap=run.sign_gap * workers,
        gap=stage.gap * workers,
    )
    if health == Health.LOST and listening.is_unheard(share.heard_at, lost_after(run.sign_gap * workers), now):
        return Worker(share, state, None)
    return Worker(share, state, health)
