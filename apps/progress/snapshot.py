"""The `DatasetProgress` object that the API, the sockets and the pages show, and the function that makes it.

A new field takes a line in `DatasetProgress` and one in `snapshot`. `docs/architecture.md` says what else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SkipValidation, WithJsonSchema

from . import control, estimates, percentage, readings
from .estimates import Work
from .facts import (
    Facts,
    current_stage,
    health_of,
    heard_at,
    is_paused,
    is_waiting,
    silent_since,
    vitals_of,
    vitals_word,
)
from .health import Health
from .history import learned_stages
from .models import Retry, Run, Stage
from .stage_clock import seconds_at
from .transitions import FINISHED, WORKING, StageState, State


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    datetime,
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class CurrentStage(_Frozen):
    """The active stage, or the last one of a finished run."""

    name: str
    label: str
    counts_as: Literal["indexing", "embedding"]
    current: int = Field(ge=0)
    total: int = Field(ge=0, description="Of how many; 0: not known yet. Equals `current` once the stage is done.")
    planned: int = Field(
        ge=0, description="Of how many it should have been; stays when the stage is over. 0: not known."
    )
    unit: str = Field(description="What is counted, in the plural.")


class StageProgress(CurrentStage):
    """One stage of the run, in order, with its own state and times."""

    state: StageState
    started_at: Moment | None
    finished_at: Moment | None
    # For our pages: how many items a stage of a learned plan had in the run before, how long one took that is over, and
    # the stage's share of the whole run. 0: the plan is not known.
    expected: int = Field(0, exclude=True)
    worked_seconds: float = Field(0.0, exclude=True)
    weight: float = Field(0.0, exclude=True)


class Eta(_Frozen):
    """A range of seconds until the run ends."""

    low: float
    high: float


class Workers(_Frozen):
    """The workers of the stage under way that report a share of their own."""

    active: int = Field(ge=0)
    silent: int = Field(ge=0, description="Of whom no sign of life has come for longer than is usual.")
    done: int = Field(ge=0, description="That have done their share, or have left.")


class DatasetProgress(_Frozen):
    """How far a dataset is."""

    dataset_id: str
    state: State
    current: int = Field(ge=0, description="Items done in the stage under way.")
    total: int = Field(ge=0, description="Of how many; 0: not known yet. Equals `current` when ready.")
    message: str
    error: str | None
    updated_at: Moment
    version: int = Field(description="Grows with every change of this dataset, over all its runs.")
    epoch: str = Field(description="Versions of two epochs are not compared: a restored database has another epoch.")
    run: int | None = Field(description="The run's number within the dataset.")
    percent: float | None = Field(
        description="Of the whole run, by weight, 0..100; never falls, and is below 100 until the run is ready. "
        "Null where the plan of the run is neither given nor learned from an earlier run."
    )
    stage: CurrentStage | None
    stages: tuple[StageProgress, ...]
    rate: float | None = Field(description="Items per second. Null while paused, lost or waiting.")
    eta_seconds: Eta | None = Field(
        description="Of the run; where `percent` is null, of its stage under way, as nobody knows what follows. "
        "Null while there is not enough to say."
    )
    health: Health | None = Field(description="Null unless the run is working, and while it is paused or waits.")
    paused: bool
    cancelled: bool
    failed: int = Field(ge=0, description="Items that could not be processed.")
    skipped: int = Field(ge=0, description="Unchanged items.")
    workers: Workers
    retry: Literal["all", "failed"] | None = Field(
        description="What the next run is asked to do again: everything, or only the items that failed."
    )
    # For our pages. They are not part of the JSON.
    requested: Literal["pause", "resume", "cancel"] | None = Field(None, exclude=True)  # and not done yet
    requested_by: str = Field("", exclude=True)  # for those who may steer the dataset
    requested_at: datetime | None = Field(None, exclude=True)
    may_end_now: bool = Field(False, exclude=True)
    started_at: datetime | None = Field(None, exclude=True)
    finished_at: datetime | None = Field(None, exclude=True)
    silent_since: datetime | None = Field(None, exclude=True)
    is_waiting: bool = Field(False, exclude=True)
    readings: SkipValidation[Sequence[tuple[float, int]]] = Field((), exclude=True)  # of the stage under way
    stage_seconds: float = Field(0.0, exclude=True)  # how long the stage under way has been worked on

    @property
    def vitals(self) -> str:
        """What changes with time alone, in a word."""
        return vitals_word(self.health, self.workers.silent)

    @property
    def is_working(self) -> bool:
        return self.state in WORKING

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


def snapshot(facts: Facts, now: datetime) -> DatasetProgress:
    """Return what watchers see of ``facts`` at ``now``, an aware time.

    What depends on ``now``, apart from times left and rates, must be in `facts.vitals_of`: else nobody is told of it.
    """
    run = facts.run or Run(updated_at=facts.created_at)  # a dataset that never ran is pending, 0 of 0
    stage = current_stage(facts.stages)
    health, silent = vitals_of(facts, now)
    rate = readings.rate(stage.readings) if stage and health not in (None, Health.LOST) else None
    return DatasetProgress(
        dataset_id=facts.dataset_id,
        state=State(run.state),
        current=stage.current if stage else 0,
        total=stage.total if stage else 0,
        message=run.message,
        error=run.error or None,
        updated_at=run.updated_at,
        version=facts.version,
        epoch=facts.epoch,
        run=facts.run.number if facts.run else None,
        percent=None if run.percent is None else round(run.percent, 2),
        stage=CurrentStage.model_validate(stage) if stage else None,
        stages=_stages(run, facts.stages),
        rate=round(rate, 3) if rate is not None else None,
        eta_seconds=_eta(run, facts.stages, now) if health not in (None, Health.LOST) else None,
        health=health,
        paused=is_paused(run),
        cancelled=run.cancelled,
        failed=run.failed,
        skipped=run.skipped,
        workers=_workers(stage, silent),
        retry=Retry(facts.retry).value if facts.retry else None,
        requested=control.requested(run),
        requested_by=run.control_by,
        requested_at=run.control_at,
        may_end_now=control.may_end_now(run, now),
        started_at=run.started_at,
        finished_at=run.finished_at,
        silent_since=silent_since(run, health, now),
        stage_seconds=_worked_seconds(run, stage, health, now) if stage else 0.0,
        readings=stage.readings if stage and run.state in WORKING else (),
        is_waiting=facts.run is not None and is_waiting(run, now),
    )


def time_left_of(facts: Facts, now: datetime) -> Eta | None:
    """Return what `snapshot` says of the time left, without the rest of it."""
    if facts.run is None or health_of(facts, now) in (None, Health.LOST):
        return None
    return _eta(facts.run, facts.stages, now)


def _stages(run: Run, stages: tuple[Stage, ...]) -> tuple[StageProgress, ...]:
    """Return the stages of a run, and behind them those that it is expected to have."""
    weights = _weights(run, stages)
    begun = (
        StageProgress(
            name=stage.name, label=stage.label, counts_as=stage.counts_as, current=stage.current, total=stage.total,
            planned=stage.planned, unit=stage.unit, state=StageState(stage.state), started_at=stage.started_at,
            finished_at=stage.finished_at, worked_seconds=stage.worked_seconds, weight=weight,
        )
        for stage, weight in zip(stages, weights, strict=False)
    )  # fmt: skip
    return (*begun, *_expected(run, stages, weights))


def _workers(stage: Stage | None, silent: int) -> Workers:
    if stage is None or stage.state != StageState.ACTIVE:
        return Workers(active=0, silent=0, done=stage.workers if stage else 0)
    counted = sum(number for _, number in stage.signs)
    return Workers(active=counted - silent, silent=silent, done=stage.workers_done)


def _worked_seconds(run: Run, stage: Stage, health: Health | None, now: datetime) -> float:
    """Return how long a stage has been worked on. The clock stands while nobody is known to work."""
    if stage.state != StageState.ACTIVE or run.state not in WORKING:
        return stage.worked_seconds
    return seconds_at(run, stage, now if health not in (None, Health.LOST) else min(heard_at(run), now))


def _expected(run: Run, stages: tuple[Stage, ...], weights: Iterator[float]) -> Iterator[StageProgress]:
    """Yield the stages that an unfinished run has not begun, and is going to have if it goes as the one before.

    ``weights``: theirs, in order.
    """
    if run.state in FINISHED or any(stage.is_planned for stage in stages):
        return
    for each, weight in zip(percentage.waiting_of(stages, run.plan), weights, strict=False):
        yield StageProgress(
            name=each["name"], label=each["label"], counts_as=each["counts_as"], current=0, total=0, planned=0,
            unit=each["unit"], state=StageState.WAITING, started_at=None, finished_at=None, expected=each["total"],
            weight=weight,
        )  # fmt: skip


def _eta(run: Run, stages: tuple[Stage, ...], now: datetime) -> Eta | None:
    """Return the time left of a run; of its stage under way where nobody knows which stages will follow."""
    weights = _weights(run, stages)
    works = [
        Work(
            stage.name, StageState(stage.state), weight, stage.total,
            seconds_at(run, stage, now) if stage.state == StageState.ACTIVE else stage.worked_seconds,
            stage.not_read, stage.readings, stage.totals,
        )
        for stage, weight in zip(stages, weights, strict=False)
    ]  # fmt: skip
    if not any(stage.is_planned for stage in stages):
        coming = percentage.waiting_of(stages, run.plan)
        works += [Work(each["name"], StageState.WAITING, weight) for each, weight in zip(coming, weights, strict=False)]
    left = estimates.time_left(works, learned_stages(run.learned))
    return Eta(low=round(left.low, 2), high=round(left.high, 2)) if left else None


def _weights(run: Run, stages: tuple[Stage, ...]) -> Iterator[float]:
    """Yield the weights of the stages of a run, and of those that it is expected to have. 0: the plan is not known."""
    parts = percentage.parts_of(stages, run.plan)
    return repeat(0.0) if parts is None else (part.weight for part in parts)
