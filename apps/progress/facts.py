"""What the database says of a dataset's progress. `snapshot` turns it into what watchers are shown.

Facts hold the rows of `models` as they were read, so a new column needs no second list here. Facts are shared between
threads: read the rows, and neither change them nor follow their relations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from . import listening, stage_clock
from .health import Health, assess, is_behind, lost_after, silent_after, slow_after
from .models import Run, Stage
from .transitions import FINISHED, WORKING, StageState, State
from .workers import silent_workers

# What `vitals_of` returns.
Vitals = tuple[Health | None, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """A dataset with its latest run and the run's stages, in order."""

    dataset_pk: int
    dataset_id: str
    created_at: datetime
    epoch: str
    version: int
    run: Run | None = None
    stages: tuple[Stage, ...] = ()
    retry: str = ""  # what the next run is asked to do again

    @property
    def key(self) -> tuple[str, int]:
        """Epoch and version: equal keys of a dataset mean equal facts."""
        return self.epoch, self.version

    def is_older_than(self, other: Facts) -> bool:
        """Whether the version is lower. Versions of two epochs are not compared."""
        return self.epoch == other.epoch and self.version < other.version


def current_stage(stages: Iterable[Stage]) -> Stage | None:
    """Return the active stage; else the one that began last; else None."""
    # One report may begin several, at the same moment: the last of them in the plan is the last.
    begun = [
        (stage.state == StageState.ACTIVE, stage.started_at, stage.position, stage)
        for stage in stages
        if stage.started_at
    ]
    return max(begun, key=itemgetter(0, 1, 2))[-1] if begun else None


def is_paused(run: Run) -> bool:
    return run.control == Run.Control.PAUSE


def is_waiting(run: Run, now: datetime) -> bool:
    """Whether an unfinished run waits for its worker or reporter, which is not overdue yet. A paused run does not wait.

    It is queued for a worker that is free, or its reporter was asked to go on a moment ago and has not answered, or the
    server was away and the reporter has had no time yet to be heard again.
    """
    if is_paused(run) or run.state in FINISHED:
        return False
    if run.state == State.PENDING or run.queued_at is not None:
        return True
    patience = lost_after(run.sign_gap)
    if run.asked_at is not None and (now - run.asked_at).total_seconds() <= patience:
        return True
    heard, is_known_as_lost = heard_at(run), run.lost_at is not None
    return (
        not is_known_as_lost and (now - heard).total_seconds() > patience and listening.is_unheard(heard, patience, now)
    )


def health_of(facts: Facts, now: datetime) -> Health | None:
    """Return the health at ``now``: None unless the run is working, and while it is paused or waits."""
    run = facts.run
    if run is None or run.state not in WORKING or is_paused(run) or is_waiting(run, now):
        return None
    stage = current_stage(facts.stages)
    return assess(
        since_sign=(now - heard_at(run)).total_seconds(),
        since_progress=(now - progressed_at(run)).total_seconds(),
        sign_gap=run.sign_gap,
        gap=stage.gap if stage else 0.0,
        is_behind=stage is not None and _is_behind(run, stage, now),
    )


def _is_behind(run: Run, stage: Stage, now: datetime) -> bool:
    if not stage.usual or stage.current >= stage.planned > 0:  # what follows its last item has no usual speed
        return False
    seconds = stage_clock.seconds_at(run, stage, now)
    return is_behind(stage.readings, seconds, stage.current - stage.not_read, slow_after(stage.gap), stage.usual)


def silent_workers_of(facts: Facts, now: datetime) -> int:
    """Return how many workers of the stage under way are silent. 0 unless the run is working, and while it waits."""
    run, stage = facts.run, current_stage(facts.stages)
    if run is None or stage is None or not stage.signs or stage.state != StageState.ACTIVE:
        return 0
    if run.state not in WORKING or is_paused(run) or is_waiting(run, now):
        return 0
    return silent_workers(run, stage, now)


def vitals_of(facts: Facts, now: datetime) -> Vitals:
    """Return what changes with the time alone: the health at ``now``, and how many workers are silent."""
    return health_of(facts, now), silent_workers_of(facts, now)


def vitals_word(health: Health | None, silent: int) -> str:
    """Return `vitals_of` in a word: ``live``, ``stalled``, or ``live-2`` where two workers are silent."""
    return f"{health or ''}-{silent}" if silent else health or ""


def is_overdue(run: Run, now: datetime) -> bool:
    """Whether signs of life have not come for longer than is usual."""
    return (now - heard_at(run)).total_seconds() > silent_after(run.sign_gap)


def silent_since(run: Run, health: Health | None, now: datetime) -> datetime | None:
    """Return when the last sign of life came, of a run that is silent, or the last progress, of one that is stalled.

    None of any other run. A pause, a message or a change of plan is neither, though it changes ``updated_at``.
    """
    match health:
        case Health.LOST:
            return heard_at(run)
        case Health.STALLED:
            return progressed_at(run)
        case Health.SLOW if is_overdue(run, now):
            return heard_at(run)
    return None


def heard_at(run: Run) -> datetime:
    """Return when the last sign of life came; before the first one, when the run changed last."""
    return run.heartbeat_at or run.updated_at


def progressed_at(run: Run) -> datetime:
    """Return when a count last grew; before it did, the last sign of life."""
    return run.progressed_at or heard_at(run)
