"""What comes in and what goes out. Bodies are strict: ``"45"`` and ``true`` are no numbers, unknown fields are refused.

Docstrings and descriptions of this module are the text of the OpenAPI document.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from ninja import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from apps.datasets.access.sharing import SharingChange
from apps.datasets.dataset_ids import DATASET_ID_PATTERN
from apps.datasets.models import Dataset, Sample
from apps.progress.models import Run
from apps.progress.reports import MAX_COUNT, Report
from apps.progress.run_state import MAX_STAGES
from apps.progress.services import StagePlan
from apps.progress.snapshot import DatasetProgress, Moment
from apps.progress.transitions import State

MAX_UPDATES: Final = 1000
MAX_FAILURES: Final = 1000
MAX_MEMBERS: Final = 1000
MAX_TEXT: Final = 100_000  # characters; the services keep the beginning


# --- Parameters ------------------------------------------------------------------------------------------------------

DatasetId = Annotated[
    str,
    # Described, not validated: an id that no dataset can have is unknown like any other, so 404 and not 422.
    WithJsonSchema({"type": "string", "pattern": f"^{DATASET_ID_PATTERN}$"}),
    Path(description="The dataset's id."),
]
RunNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The run's number within the dataset.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]


# --- Bodies ----------------------------------------------------------------------------------------------------------


def _line(max_length: int, min_length: int = 1) -> Any:
    """A line without control characters: names stand on pages, in logs and in every database."""
    return StringConstraints(strict=True, min_length=min_length, max_length=max_length, pattern=r"^[^\x00-\x1f\x7f]*$")


Count = Annotated[int, Field(ge=0, le=MAX_COUNT, strict=True)]
Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT)]
Number = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]
Name = Annotated[str, _line(64)]
Worker = Annotated[str, _line(128)]
IdempotencyKey = Annotated[str, _line(128)]
Label = Annotated[str, _line(100, min_length=0)]
Unit = Annotated[str, _line(32)]
Visibility = Literal["public", "private"]
UserName = Annotated[str, _line(150)]
Weight = Annotated[float, Field(ge=0.001, le=1e6, strict=True)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Failure(_Body):
    """An item that could not be processed."""

    item: Text = Field(min_length=1)
    reason: Text = ""


class ReportBody(_Body):
    """Any of these; counts are absolute. Nothing at all is a sign of life."""

    state: State | None = Field(None, description="Where the run is. `ready` and `error` end it.")
    stage: Name | None = Field(None, description="The stage that the counts are of; it begins if it has not.")
    label: Label | None = Field(None, description="How the stage is shown, in place of its name or its state.")
    unit: Unit | None = Field(None, description="What it counts, in the plural. `B` and `bytes` read as kB, MB or GB.")
    current: Count | None = Field(None, description="How much is done: of the stage, or of the worker's share.")
    total: Count | None = Field(None, description="Of how much; 0: not known. It may grow.")
    message: Text | None = Field(None, description="One line for people.")
    error: Text | None = Field(None, description="Why it failed; the run ends in `error`.")
    worker: Worker | None = Field(
        None,
        description="Of several workers on one stage, the one that reports its own share; the stage is the sum. "
        "What a worker has reported never falls, and stays when the worker is gone.",
    )
    failed: Count | None = Field(None, description="Items that could not be processed.")
    skipped: Count | None = Field(None, description="Unchanged items.")
    failures: Annotated[list[Failure], Field(max_length=MAX_FAILURES)] = Field(
        [], description="Some of them, by name. One that is listed already is not listed twice."
    )
    run: Number | None = Field(None, description="The run that is meant; else the one that is open, or a new one.")
    leave: bool = Field(
        False,
        strict=True,
        description="The `worker` leaves the run that it has joined, as `ready` or with an `error`. The run ends when "
        "the last living member has left.",
    )

    @model_validator(mode="after")
    def _worker_leaves(self) -> Self:
        if self.leave and self.worker is None:
            raise ValueError('with "leave", "worker" says who leaves')
        return self

    @model_validator(mode="after")
    def _ends_one_way(self) -> Self:
        if self.error is not None and self.state not in (None, State.ERROR):
            raise ValueError(f'with an "error", the state is "error", and not "{self.state.value}"')
        return self

    def report(self) -> Report:
        return Report(
            state=self.state, stage=self.stage, label=self.label, unit=self.unit, current=self.current,
            total=self.total, message=self.message, error=self.error, worker=self.worker, failed=self.failed,
            skipped=self.skipped, run=self.run, leave=self.leave,
            failures=[(failure.item, failure.reason) for failure in self.failures],
        )  # fmt: skip


class UpdateBody(ReportBody):
    """A report, with the dataset that it is of."""

    dataset_id: Annotated[str, StringConstraints(strict=True, pattern=f"^{DATASET_ID_PATTERN}$")]


class BatchBody(_Body):
    """Updates, in the order in which they are taken. Each is looked at by itself."""

    updates: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_UPDATES)]


class StageBody(_Body):
    """A stage that the run is going to have."""

    name: Name
    label: Label = Field("", description="Shown in place of the name of the state.")
    counts_as: Literal["indexing", "embedding"] = "indexing"
    unit: Unit = Field("items", description="What is counted, in the plural.")
    total: Count = Field(0, description="0: not known yet.")
    weight: Weight = Field(1.0, description="Its share of the whole run, beside the others'.")

    def plan(self) -> StagePlan:
        return StagePlan(self.name, self.label, State(self.counts_as), self.unit, self.total, self.weight)


class SharingBody(_Body):
    """Who sees a dataset. What is left out stays as it is."""

    visibility: Visibility | None = Field(
        None,
        description="`public`: anyone who can reach the site, or with `SIGN_IN_REQUIRED`, anyone who can sign in. "
        "`private`: the owner, members and staff.",
    )
    owner: UserName | None = Field(None, description="The user name of the owner.")
    members: Annotated[list[UserName], Field(max_length=MAX_MEMBERS)] | None = Field(
        None, description="The user names of all members. They see the dataset and may report on it."
    )

    def change(self) -> SharingChange:
        return SharingChange(self.visibility, self.owner, self.members)


class RunBody(SharingBody):
    """A run that is to be begun. `visibility`, `owner` and `members` are for those who may steer the dataset."""

    stages: Annotated[list[StageBody], Field(max_length=MAX_STAGES)] = []
    message: Text = ""
    idempotency_key: IdempotencyKey | None = Field(
        None, description="Whoever begins a run with it again is given the one that it began."
    )
    replace: bool = Field(False, strict=True, description="Cancel the run that is open, in place of refusing.")
    join: bool = Field(
        False,
        strict=True,
        description="Share the run that is open, as `worker`, if it was heard of lately; else begin the next.",
    )
    worker: Worker | None = Field(None, description="Who joins. Its reports name it, and the last one has `leave`.")

    @model_validator(mode="after")
    def _worker_joins(self) -> Self:
        if self.join and self.worker is None:
            raise ValueError('with "join", "worker" says who joins')
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
        return self


class ControlBody(_Body):
    """What the people in charge ask of whoever reports."""

    action: Literal["pause", "resume", "cancel"]


# --- Answers ---------------------------------------------------------------------------------------------------------

Control = Literal["run", "pause", "cancel"]


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


class DatasetDetail(DatasetOut):
    """A dataset, how far it is, and how many samples it has."""

    samples: int = Field(description="Samples whose files are there.")
    missing: int = Field(description="Samples whose files are gone.")

    @classmethod
    def of(cls, dataset: Dataset, progress: DatasetProgress) -> Self:
        return cls(
            **vars(DatasetOut.of(dataset, progress)),
            samples=Sample.objects.present().filter(dataset=dataset).count(),
            missing=dataset.missing_samples().count(),
        )


class Forgotten(BaseModel):
    """What was forgotten."""

    forgotten: int = Field(description="The number of samples that were missing.")


class SharingOut(BaseModel):
    """Who sees a dataset."""

    visibility: Visibility
    owner: str = Field(description="A user name; empty where it has no owner.")
    members: list[str] = Field(description="User names.")


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
    cancelled: bool
    message: str
    error: str | None
    percent: float
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
            cancelled=run.cancelled, message=run.message, error=run.error or None, percent=round(run.percent, 2),
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
