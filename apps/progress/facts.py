"""What the database says of a dataset's progress. `snapshot` turns it into what watchers are shown.

Facts hold the rows of `models` as they were read, so a new column needs no second list here. Facts are shared between
threads: read the rows, and neither change them nor follow their relations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from .health import Health, assess
from .models import Run, Stage
from .transitions import WORKING, StageState


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
    begun = [(stage.state == StageState.ACTIVE, stage.started_at, stage) for stage in stages if stage.started_at]
    return max(begun, key=itemgetter(0, 1))[2] if begun else None


def is_paused(run: Run) -> bool:
    return run.control == Run.Control.PAUSE


def health_of(facts: Facts, now: datetime) -> Health | None:
    """Return the health at ``now``: None unless the run is working, and live while it is paused."""
    run = facts.run
    if run is None or run.state not in WORKING:
        return None
    if is_paused(run):
        return Health.LIVE
    stage = current_stage(facts.stages)
    return assess(
        since_heartbeat=(now - _heartbeat_at(run)).total_seconds(),
        since_progress=(now - _progressed_at(run)).total_seconds(),
        gap=stage.gap if stage else 0.0,
    )


def silent_since(run: Run, health: Health | None) -> datetime | None:
    """Return when what a run of this health lacks was there last: a sign of life where it is lost, else progress.

    None where it lacks nothing. A pause, a message or a change of plan is neither, though it changes ``updated_at``.
    """
    match health:
        case Health.LOST:
            return _heartbeat_at(run)
        case Health.STALLED | Health.SLOW:
            return _progressed_at(run)
    return None


def _heartbeat_at(run: Run) -> datetime:
    return run.heartbeat_at or run.updated_at


def _progressed_at(run: Run) -> datetime:
    return run.progressed_at or _heartbeat_at(run)
