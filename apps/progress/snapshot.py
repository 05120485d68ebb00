"""The `DatasetProgress` object: what every watcher is given, page, API and socket alike.

`Facts` is what the database says, `DatasetProgress` what is shown of it at a moment: health is the only part that
changes while nothing is written. `snapshot` leads from one to the other and reads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from . import estimates
from .estimates import Health, Reading
from .transitions import FINISHED, WORKING, StageState, State


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    datetime,
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CurrentStage(_Frozen):
    """The stage under way, or the last one of a finished run."""

    name: str
    label: str
    counts_as: Literal["indexing", "embedding"]
    current: int = Field(ge=0)
    total: int = Field(ge=0, description="0: not known yet.")
    unit: str = Field(description="What is counted, in the plural.")


class StageProgress(CurrentStage):
    """One stage of the run, in order, with its own state and times."""

    state: StageState
    started_at: Moment | None
    finished_at: Moment | None


class Eta(_Frozen):
    """A range of seconds until the run ends."""

    low: float
    high: float


class DatasetProgress(_Frozen):
    """How far a dataset is."""

    dataset_id: str
    state: State
    current: int = Field(ge=0, description="Items done in the stage under way; equals `total` when ready.")
    total: int = Field(ge=0, description="0: not known yet.")
    message: str
    error: str | None
    updated_at: Moment
    version: int = Field(description="Grows with every change of this dataset, over all its runs.")
    run: int | None = Field(description="The run's number within the dataset.")
    percent: float | None = Field(description="Of the whole run, by weight, 0..100; never falls within a run.")
    stage: CurrentStage | None
    stages: tuple[StageProgress, ...]
    rate: float | None = Field(description="Items per second.")
    eta_seconds: Eta | None = Field(description="Null while there is not enough to say.")
    health: Health | None = Field(description="Null unless the run is working.")
    paused: bool
    cancelled: bool
    failed: int = Field(ge=0, description="Items that could not be processed.")
    skipped: int = Field(ge=0, description="Items left as they were.")

    @property
    def is_working(self) -> bool:
        return self.state in WORKING

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True, slots=True)
class StageFacts:
    name: str
    label: str
    counts_as: Literal["indexing", "embedding"]
    unit: str
    weight: float
    state: StageState
    current: int
    total: int
    started_at: datetime | None
    finished_at: datetime | None
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class RunFacts:
    number: int
    state: State
    paused: bool
    cancelled: bool
    message: str
    error: str | None
    percent: float
    failed: int
    skipped: int
    updated_at: datetime
    heartbeat_at: datetime | None
    progressed_at: datetime | None
    stages: tuple[StageFacts, ...]

    def stage_under_way(self) -> StageFacts | None:
        """The active stage; else the last that began; None where none ever did."""
        begun = [
            (stage.state == StageState.ACTIVE, stage.started_at, stage) for stage in self.stages if stage.started_at
        ]
        return max(begun, key=itemgetter(0, 1))[2] if begun else None


@dataclass(frozen=True, slots=True)
class Facts:
    """One dataset as the database has it. ``pk`` is the row's id."""

    pk: int
    dataset_id: str
    created_at: datetime
    version: int
    run: RunFacts | None


def health_of(run: RunFacts, now: datetime) -> Health | None:
    """The health of a run at ``now``; None unless it is working. A paused run is silent because it was told to be."""
    if run.state not in WORKING:
        return None
    if run.paused:
        return Health.LIVE
    stage = run.stage_under_way()
    alive = run.heartbeat_at or run.updated_at
    progressed = run.progressed_at or alive
    return estimates.health(
        since_heartbeat=(now - alive).total_seconds(),
        since_progress=(now - progressed).total_seconds(),
        gap=estimates.usual_gap(stage.readings) if stage else 0.0,
    )


def _eta(run: RunFacts, stage: StageFacts, health: Health | None) -> Eta | None:
    if run.paused or health not in (Health.LIVE, Health.SLOW):
        return None
    later = sum(s.weight for s in run.stages if s.state == StageState.WAITING) / stage.weight
    left = estimates.seconds_left(stage.readings, stage.current, stage.total, later)
    return Eta(low=round(left.low, 1), high=round(left.high, 1)) if left else None


def snapshot(facts: Facts, now: datetime) -> DatasetProgress:
    """What watchers see of ``facts`` at ``now`` (aware)."""
    run = facts.run
    if run is None:
        return DatasetProgress(
            dataset_id=facts.dataset_id, state=State.PENDING, current=0, total=0, message="", error=None,
            updated_at=facts.created_at, version=facts.version, run=None, percent=None, stage=None, stages=(),
            rate=None, eta_seconds=None, health=None, paused=False, cancelled=False, failed=0, skipped=0,
        )  # fmt: skip
    stage = run.stage_under_way()
    working = run.state in WORKING
    health = health_of(run, now)
    rate = estimates.rate(stage.readings) if stage and working else None
    return DatasetProgress(
        dataset_id=facts.dataset_id,
        state=run.state,
        current=stage.current if stage else 0,
        total=stage.total if stage else 0,
        message=run.message,
        error=run.error,
        updated_at=run.updated_at,
        version=facts.version,
        run=run.number,
        percent=round(run.percent, 2),
        stage=CurrentStage(
            name=stage.name, label=stage.label, counts_as=stage.counts_as, current=stage.current, total=stage.total,
            unit=stage.unit,
        ) if stage else None,
        stages=tuple(
            StageProgress(
                name=s.name, label=s.label, counts_as=s.counts_as, current=s.current, total=s.total, unit=s.unit,
                state=s.state, started_at=s.started_at, finished_at=s.finished_at,
            )
            for s in run.stages
        ),
        rate=round(rate, 3) if rate is not None else None,
        eta_seconds=_eta(run, stage, health) if stage and working else None,
        health=health,
        paused=run.paused,
        cancelled=run.cancelled,
        failed=run.failed,
        skipped=run.skipped,
    )  # fmt: skip
