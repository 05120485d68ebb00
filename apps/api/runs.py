"""Runs: begun with their stages, read, and asked to pause, go on or stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from django.http import HttpRequest
from ninja import Body, Path, Query, Status
from ninja.errors import HttpError
from pydantic import BaseModel, Field

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from apps.progress.snapshot import Moment
from apps.progress.transitions import State

from .auth import READ_SECURITY, WRITE, caller_of
from .datasets import Limit
from .errors import WRITE_REFUSALS, Error, InvalidError
from .permitted import readable, steerable, writable
from .progress import DatasetId
from .routing import router
from .schemas import ControlBody, RunBody

TAGS = ["Runs"]


RunNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The run's number within the dataset.")]


class RunStage(BaseModel):
    """A stage as it was planned, or met."""

    name: str
    label: str
    counts_as: Literal["indexing", "embedding"]
    unit: str
    state: str
    current: int
    total: int
    weight: float


class RunOut(BaseModel):
    """One pass over a dataset."""

    dataset_id: str
    run: int = Field(description="Its number within the dataset.")
    state: State
    control: Literal["run", "pause", "cancel"] = Field(description="What whoever reports is asked to do.")
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


class Runs(BaseModel):
    """Runs, the latest first."""

    runs: list[RunOut]
    next: int | None = Field(description="The `before` that asks for what follows; null at the end.")


def _out(dataset: Dataset, run: Run) -> RunOut:
    return RunOut(
        dataset_id=dataset.dataset_id, run=run.number, state=State(run.state), control=run.control,
        cancelled=run.cancelled, message=run.message, error=run.error or None, percent=round(run.percent, 2),
        failed=run.failed, skipped=run.skipped, created_at=run.created_at, started_at=run.started_at,
        finished_at=run.finished_at,
        stages=[
            RunStage(
                name=stage.name, label=stage.label, counts_as=stage.counts_as, unit=stage.unit, state=stage.state,
                current=stage.current, total=stage.total, weight=stage.weight,
            )
            for stage in sorted(run.stages.all(), key=lambda stage: stage.position)
        ],
    )  # fmt: skip


@router.post(
    "/datasets/{dataset_id}/runs",
    auth=WRITE,
    response={200: RunOut, 201: RunOut, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="begin_run",
    summary="Begin a run",
)
def begin_run(request: HttpRequest, dataset_id: DatasetId, body: Body[RunBody]) -> Status[RunOut]:
    """Open the next run with its stages, totals and weights; the dataset is made if there is none.

    With an `idempotency_key` a retry is harmless: the run that was begun with it is answered, with 200 in place of 201.
    While another run is open this is refused with `run_unfinished`, unless `replace` cancels that one.
    """
    dataset = writable(caller_of(request), dataset_id, make=True)
    run, is_new = services.begin_or_find_run(
        dataset, [stage.plan() for stage in body.stages], message=body.message,
        idempotency_key=body.idempotency_key or "", replace=body.replace,
    )  # fmt: skip
    return Status(201 if is_new else 200, _out(dataset, run))


@router.get(
    "/datasets/{dataset_id}/runs",
    response={200: Runs, 401: Error, 404: Error, 422: InvalidError, 429: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="list_runs",
    summary="The runs of a dataset",
)
def list_runs(
    request: HttpRequest,
    dataset_id: DatasetId,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Runs before the one of this number.")] = None,
    limit: Limit = 50,
) -> Runs:
    """The latest first; `next` of one answer is the `before` that asks for what follows."""
    dataset = readable(caller_of(request), dataset_id)
    runs = Run.objects.filter(dataset=dataset).order_by("-number").prefetch_related("stages")
    if before is not None:
        runs = runs.filter(number__lt=before)
    page = list(runs[: limit + 1])
    following = page[limit - 1].number if page[limit:] else None
    return Runs(runs=[_out(dataset, run) for run in page[:limit]], next=following)


@router.get(
    "/datasets/{dataset_id}/runs/{run}",
    response={200: RunOut, 401: Error, 404: Error, 422: InvalidError, 429: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="get_run",
    summary="One run",
)
def get_run(request: HttpRequest, dataset_id: DatasetId, run: RunNumber) -> RunOut:
    """A run by its number within the dataset."""
    dataset = readable(caller_of(request), dataset_id)
    found = Run.objects.filter(dataset=dataset, number=run).first()
    if found is None:
        raise HttpError(404, "There is no such run.")
    return _out(dataset, found)


ACTIONS: dict[str, Callable[[int, str], bool]] = {
    "pause": services.request_pause,
    "resume": services.request_resume,
    "cancel": services.request_cancel,
}


@router.post(
    "/datasets/{dataset_id}/control",
    auth=WRITE,
    response={200: RunOut, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="control_run",
    summary="Pause, resume or cancel",
)
def control_run(request: HttpRequest, dataset_id: DatasetId, body: Body[ControlBody]) -> RunOut:
    """Ask whoever reports on the open run to hold, to go on, or to stop; it is told with the answer to its next report.
    For the dataset's owner, staff, and the site's own tokens; members may report.

    Asking for what was asked already is answered as the first time. Refused with `no_run` where none is open.
    """
    caller = caller_of(request)
    dataset = steerable(caller, dataset_id)
    run = services.open_run_of(dataset)
    ACTIONS[body.action](run.pk, f"token {caller.token}")
    run.refresh_from_db()
    return _out(dataset, run)
