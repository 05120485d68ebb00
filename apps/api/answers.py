"""What goes out.

Docstrings and descriptions of this module are the text of the OpenAPI document.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field

from apps.datasets.models import Dataset
from apps.progress.health import Health
from apps.progress.models import Run
from apps.progress.snapshot import DatasetProgress, Moment
from apps.progress.transitions import State
from apps.progress.workers import Worker, WorkerState

from .fields import Role, Visibility

Control = Literal["run", "pause", "cancel"]
Retried = Literal["all", "failed"]


class FieldError(BaseModel):
    """One value that was refused."""

    path: str = Field(description="Where it stands, with dots between the levels: `failures.0.item`.")
    detail: str


class Error(BaseModel):
    """Why a request was refused. Nothing was changed."""

    detail: str = Field(description="For people.")
    code: str = Field(description="For programs: stable.", examples=["not_found"])


class InvalidError(Error):
    """A request that can be read, with values that cannot be taken."""

    errors: list[FieldError]


class DatasetOut(BaseModel):
    """A dataset, and how far it is."""

    dataset_id: str
    name: str = Field(description="Empty where it has none beside its id.")
    visibility: Visibility
    created_at: Moment
    progress: DatasetProgress

    @classmethod
    def of(cls, dataset: Dataset, progress: DatasetProgress) -> Self:
        return cls(
            dataset_id=dataset.dataset_id, name=dataset.name, visibility=dataset.visibility,
            created_at=dataset.created_at, progress=progress,
        )  # fmt: skip


class NotLookedAt(BaseModel):
    """The files of a dataset's folder that the last scan did not look at. They are no failures."""

    others: dict[str, int] = Field(default={}, description="Files that are no images, by the ending of their names.")
    left_out: dict[str, int] = Field(
        default={}, description="Hidden files, and what systems leave in folders, by name. A directory counts once."
    )
    excluded: int = Field(0, description="Files and directories that the dataset's patterns leave out.")


class DatasetDetail(DatasetOut):
    """A dataset, how far it is, and how many samples it has."""

    samples: int = Field(description="Samples whose files are there.")
    missing: int = Field(description="Samples whose files are gone.")
    copies: int = Field(description="Samples with the content of another, as of the last run.")
    damaged: int = Field(description="Samples of which a part cannot be decoded, as of the last run.")
    not_looked_at: NotLookedAt

    @classmethod
    def of(cls, dataset: Dataset, progress: DatasetProgress) -> Self:
        return cls(
            **vars(DatasetOut.of(dataset, progress)),
            samples=dataset.count_samples(),
            missing=dataset.missing_samples().count(),
            copies=dataset.file_counts.get("copies", 0),
            damaged=dataset.file_counts.get("damaged", 0),
            not_looked_at=NotLookedAt.model_validate(dataset.file_counts),
        )


class Forgotten(BaseModel):
    """What was forgotten."""

    forgotten: int = Field(description="The number of samples that were missing.")


class SharingOut(BaseModel):
    """Who sees a dataset."""

    visibility: Visibility
    owner: str = Field(description="A user name; empty where it has no owner.")
    members: list[str] = Field(description="User names.")
    roles: dict[str, Role] = Field(description="What each member may do: `view`, `report` or `steer`.")


class Datasets(BaseModel):
    """Datasets in the order of their ids."""

    datasets: list[DatasetOut]
    next: str | None = Field(description="The `after` that asks for what follows; null at the end.")


class RunStage(BaseModel):
    """A stage as it was planned, or met."""

    name: str
    label: str
    counts_as: Literal["indexing", "embedding"]
    unit: str
    state: str
    current: int
    total: int = Field(description="Equals `current` once the stage is done.")
    planned: int = Field(description="Of how many it should have been; 0: not known.")
    weight: float


class RunOut(BaseModel):
    """One pass over a dataset."""

    dataset_id: str
    run: int = Field(description="Its number within the dataset.")
    state: State
    control: Control = Field(description="What whoever reports is asked to do.")
    retry: Retried | None = Field(
        description="What of the run before it does again, as people asked: everything, or only the failed items."
    )
    cancelled: bool
    message: str
    error: str | None
    percent: float | None = Field(description="Null where the plan of the run is not known.")
    failed: int
    skipped: int
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    stages: list[RunStage]

    @classmethod
    def of(cls, dataset: Dataset, run: Run) -> Self:
        return cls(
            dataset_id=dataset.dataset_id, run=run.number, state=State(run.state), control=run.control,
            retry=run.retry or None, cancelled=run.cancelled, message=run.message, error=run.error or None,
            percent=None if run.percent is None else round(run.percent, 2),
            failed=run.failed, skipped=run.skipped, created_at=run.created_at, started_at=run.started_at,
            finished_at=run.finished_at,
            stages=[
                RunStage(
                    name=stage.name, label=stage.label, counts_as=stage.counts_as, unit=stage.unit, state=stage.state,
                    current=stage.current, total=stage.total, planned=stage.planned, weight=stage.weight,
                )
                for stage in sorted(run.stages.all(), key=lambda stage: stage.position)
            ],
        )  # fmt: skip


class BegunRun(RunOut):
    """A run that was begun, found by its key, or joined."""

    joined: bool = Field(description="Whether others share the run, which was open already.")

    @classmethod
    def of_begun(cls, dataset: Dataset, run: Run, *, joined: bool) -> Self:
        return cls(**dict(RunOut.of(dataset, run)), joined=joined)


class Runs(BaseModel):
    """Runs, the latest first."""

    runs: list[RunOut]
    next: int | None = Field(description="The `before` that asks for what follows; null at the end.")


class WorkerOut(BaseModel):
    """What one worker has done of a stage, and how it is."""

    worker: str
    stage: str
    state: WorkerState = Field(description="`silent`: no sign of life has come for longer than is usual.")
    health: Health | None = Field(description="Null unless it is at work on the stage under way of a run that works.")
    current: int
    total: int = Field(description="Of how many; 0: not known.")
    failed: int
    skipped: int
    rate: float | None = Field(description="Items per second of late. Null unless it is active.")
    heard_at: Moment | None = Field(description="Its last sign of life, to within 5 seconds.")
    progressed_at: Moment | None = Field(description="When its count last grew.")

    @classmethod
    def of(cls, worker: Worker) -> Self:
        share = worker.share
        return cls(
            worker=share.worker, stage=share.stage.name, state=worker.state, health=worker.health,
            current=share.current, total=share.total, failed=share.failed, skipped=share.skipped,
            rate=round(share.rate, 3) if worker.state == WorkerState.ACTIVE and share.rate else None,
            heard_at=share.heard_at, progressed_at=share.progressed_at,
        )  # fmt: skip


class WorkersOut(BaseModel):
    """The workers of a run, in the order in which they came."""

    workers: list[WorkerOut]
    next: int | None = Field(description="The `after` that asks for what follows; null at the end.")


class Reported(BaseModel):
    """The state after a report, and what the people in charge ask of whoever reports."""

    progress: DatasetProgress
    control: Control


class Result(BaseModel):
    """What became of one update of a batch: `run`, `version` and `control` where it was taken, else why it was not."""

    status: int = Field(description="What the update would have been answered with by itself.")
    run: int | None = None
    version: int | None = Field(None, description="The version of the dataset after the batch.")
    control: Control | None = None
    detail: str | None = None
    code: str | None = None
    errors: list[FieldError] | None = None


class Results(BaseModel):
    """One result an update, in their order."""

    results: list[Result]


class Steered(BaseModel):
    """What became of an action on one dataset."""

    dataset_id: str
    status: int = Field(description="What the request would have been answered with by itself.")
    changed: bool = Field(description="False where it was so already, and where it was refused.")
    detail: str = Field(description="What happened, for people.")
    code: str | None = Field(description="Why it was refused.")


class SteeredMany(BaseModel):
    """One result a dataset, in their order."""

    results: list[Steered]


class FailureOut(BaseModel):
    """An item that could not be processed."""

    item: str
    reason: str
    stage: str
    at: Moment


class UnlistedOut(BaseModel):
    """Items that failed for one reason and are not listed one by one."""

    stage: str
    reason: str
    count: int


class Failures(BaseModel):
    """The failed items of a run."""

    run: int
    failures: list[FailureOut]
    unlisted: list[UnlistedOut] = Field(description="Those beyond `MOST_FAILURES`, by reason; on the first page alone.")
    next: int | None = Field(description="The `after` that asks for what follows; null at the end.")
