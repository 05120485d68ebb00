"""What pipelines send. Types are taken as they are written: ``"45"`` and ``true`` are no numbers."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from apps.datasets.models import DATASET_ID_PATTERN
from apps.progress.reports import MAX_COUNT, MAX_STAGES, Report
from apps.progress.services import StagePlan
from apps.progress.transitions import State

MOST_UPDATES: Final = 1000
MOST_FAILURES: Final = 1000
MOST_TEXT: Final = 100_000  # characters; the services keep the beginning

Count = Annotated[int, Field(ge=0, le=MAX_COUNT, strict=True)]
Text = Annotated[str, StringConstraints(strict=True, max_length=MOST_TEXT)]
Number = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]


def _line(most: int, least: int = 1) -> Any:
    """A line without control characters: names stand on pages, in logs and in every database."""
    return StringConstraints(strict=True, min_length=least, max_length=most, pattern=r"^[^\x00-\x1f\x7f]*$")


Name = Annotated[str, _line(64)]
Worker = Annotated[str, _line(128)]
Key = Annotated[str, _line(128)]
Label = Annotated[str, _line(100, least=0)]
Unit = Annotated[str, _line(32)]
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
    skipped: Count | None = Field(None, description="Items left as they were.")
    failures: Annotated[list[Failure], Field(max_length=MOST_FAILURES)] = Field(
        [], description="Some of them, by name. One that is listed already is not listed twice."
    )
    run: Number | None = Field(None, description="The run that is meant; else the one that is open, or a new one.")

    @model_validator(mode="after")
    def _ends_one_way(self) -> Self:
        if self.error is not None and self.state not in (None, State.ERROR):
            raise ValueError(f'with an "error", the state is "error", and not "{self.state.value}"')
        return self

    def report(self) -> Report:
        return Report(
            state=self.state, stage=self.stage, current=self.current, total=self.total, message=self.message,
            error=self.error, worker=self.worker, failed=self.failed, skipped=self.skipped, run=self.run,
            failures=[(failure.item, failure.reason) for failure in self.failures],
        )  # fmt: skip


class UpdateBody(ReportBody):
    """A report, with the dataset that it is of."""

    dataset_id: Annotated[str, StringConstraints(strict=True, pattern=f"^{DATASET_ID_PATTERN}$")]


class BatchBody(_Body):
    """Updates, in the order in which they are taken. Each is looked at by itself."""

    updates: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_UPDATES)]


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


class RunBody(_Body):
    """A run that is to be begun."""

    stages: Annotated[list[StageBody], Field(max_length=MAX_STAGES)] = []
    message: Text = ""
    idempotency_key: Key | None = Field(
        None, description="Whoever begins a run with it again is given the one that it began."
    )
    replace: bool = Field(False, strict=True, description="Cancel the run that is open, in place of refusing.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
        return self


class ControlBody(_Body):
    """What the people in charge ask of whoever reports."""

    action: Literal["pause", "resume", "cancel"]
