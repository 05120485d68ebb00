"""What comes in. Bodies are strict, and unknown fields are refused.

Docstrings and descriptions of this module are the text of the OpenAPI document.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from apps.datasets.access.sharing import SharingChange
from apps.progress.origin import Origin as RunOrigin
from apps.progress.reports import Report
from apps.progress.run_state import MAX_STAGES
from apps.progress.services import StagePlan
from apps.progress.transitions import State

from .fields import (
    Count,
    Id,
    IdempotencyKey,
    Label,
    Link,
    Name,
    Number,
    Origin,
    Role,
    Text,
    Unit,
    UserName,
    Visibility,
    Weight,
    Worker,
)

MAX_UPDATES: Final = 1000
MAX_BATCHES: Final = 20
MAX_FAILURES: Final = 1000
MAX_DATASET_MEMBERS: Final = 1000


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

    done: bool = Field(
        False,
        strict=True,
        description="The `worker` will count nothing more, so its silence means nothing. One that leaves is done.",
    )

    @model_validator(mode="after")
    def _worker_leaves(self) -> Self:
        if self.leave and self.worker is None:
            raise ValueError('with "leave", "worker" says who leaves')
        if self.done and self.worker is None:
            raise ValueError('with "done", "worker" says who is')
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
            skipped=self.skipped, run=self.run, leave=self.leave, done=self.done,
            failures=[(failure.item, failure.reason) for failure in self.failures],
        )  # fmt: skip


class SingleReportBody(ReportBody):
    """The same, of the dataset that the address names."""

    batch: Id | None = Field(None, description="A batch that the dataset is to be in; created if there is none.")


class UpdateBody(SingleReportBody):
    """The same, with the dataset that it is of."""

    dataset_id: Id


class UpdatesBody(_Body):
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
    members: Annotated[list[UserName], Field(max_length=MAX_DATASET_MEMBERS)] | None = Field(
        None, description="The user names of all members. They see the dataset."
    )
    roles: Annotated[dict[UserName, Role], Field(max_length=MAX_DATASET_MEMBERS)] | None = Field(
        None,
        description="What members may do: `view`, `report` (as new members may) or `steer`: also pause, cancel, "
        "process and retry. Who is left out keeps theirs.",
    )

    def change(self) -> SharingChange:
        return SharingChange(self.visibility, self.owner, self.members, self.roles)


class OriginBody(_Body):
    """Where the reporter runs. Shown to those who may steer the dataset."""

    host: Origin | None = Field(None, description="The name of the machine.")
    process: Number | None = Field(None, description="The number of the process.")
    client: Origin | None = Field(None, description="What reports, with its version.")
    python: Origin | None = Field(None, description="The version of Python.")


class RunBody(SharingBody):
    """A run that is to be begun. What says who sees the dataset is for its owner, staff, and the site's own tokens."""

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
    origin: OriginBody | None = None
    batch: Id | None = Field(None, description="A batch that the dataset is to be in; created if there is none.")
    link: Link | None = Field(
        None, description="The job's own page, http or https. Shown to those who may steer the dataset."
    )
    worker: Worker | None = Field(None, description="Who joins. Its reports name it, and the last one has `leave`.")

    @model_validator(mode="after")
    def _worker_joins(self) -> Self:
        if self.join and self.worker is None:
            raise ValueError('with "join", "worker" says who joins')
        return self

    def run_origin(self, by: str) -> RunOrigin:
        """Return who begins the run and where. ``by``: the name of the caller."""
        where = self.origin or OriginBody()
        return RunOrigin(
            by=by, host=where.host or "", process=where.process, client=where.client or "", python=where.python or "",
            link=self.link or "",
        )  # fmt: skip

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
        return self


class ControlBody(_Body):
    """What the people in charge ask of whoever reports."""

    action: Literal["pause", "resume", "cancel", "end", "retry"]
    only_failed: bool = Field(False, strict=True, description="With `retry`: only the items that failed.")

    @model_validator(mode="after")
    def _retries(self) -> Self:
        if self.only_failed and self.action != "retry":
            raise ValueError('"only_failed" goes with the action "retry"')
        return self


class ControlManyBody(ControlBody):
    """The same for many datasets."""

    datasets: Annotated[
        list[Annotated[str, StringConstraints(strict=True, max_length=128)]],
        Field(min_length=1, max_length=MAX_UPDATES),
    ] = Field(description="Their ids.")
