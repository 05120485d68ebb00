"""Begin, list and read runs."""

from __future__ import annotations

from typing import Annotated

from django.db import transaction
from django.http import HttpRequest
from ninja import Body, Query, Status
from ninja.errors import HttpError

from apps.batches.services import join_batch
from apps.datasets.access.lookup import get_or_create_writable, get_visible
from apps.datasets.access.sharing import SharingChange, share
from apps.progress import services
from apps.progress.models import Run

from .answers import BegunRun, Error, InvalidError, RunOut, Runs
from .auth import READ_SECURITY, WRITE, caller_of, spend_rows
from .bodies import RunBody
from .errors import WRITE_REFUSALS
from .fields import DatasetId, Limit, RunNumber
from .routing import router

TAGS = ["Runs"]


@router.post(
    "/datasets/{dataset_id}/runs",
    auth=WRITE,
    response={200: BegunRun, 201: BegunRun, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="begin_run",
    summary="Begin a run",
)
def begin_run(request: HttpRequest, dataset_id: DatasetId, body: Body[RunBody]) -> Status[BegunRun]:
    """Open the next run with its stages, totals and weights; the dataset is made if there is none.

    With an `idempotency_key` a retry is harmless: the run that was begun with it is answered, with 200 in place of 201.
    `visibility`, `owner` and `members` say who sees the dataset, before anyone sees the run.
    While another run is open this is refused with `run_unfinished`, unless `replace` cancels that one, or `join` shares
    it.
    """
    caller = caller_of(request)
    with transaction.atomic():
        dataset = get_or_create_writable(caller, dataset_id, visibility=body.visibility or "")
        begun = services.begin_or_find_run(
            dataset, [stage.plan() for stage in body.stages], message=body.message,
            idempotency_key=body.idempotency_key or "", replace=body.replace,
            join_as=(body.worker or "") if body.join else "", origin=body.run_origin(caller.name),
        )  # fmt: skip
        # After the run, because whoever reports locks the dataset's row last. Others see both or neither.
        if (change := body.change()) != SharingChange():
            share(caller, dataset, change)
        if body.batch is not None:
            join_batch(caller, body.batch, [dataset_id])
    return Status(201 if begun.is_new else 200, BegunRun.of_begun(dataset, begun.run, joined=begun.joined))


@router.get(
    "/datasets/{dataset_id}/runs",
    response={200: Runs, 401: Error, 404: Error, 422: InvalidError, 429: Error, 503: Error},
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
    spend_rows(request, limit)
    dataset = get_visible(caller_of(request), dataset_id)
    runs = Run.objects.filter(dataset=dataset).order_by("-number").prefetch_related("stages")
    if before is not None:
        runs = runs.filter(number__lt=before)
    page = list(runs[: limit + 1])
    next_before = page[limit - 1].number if page[limit:] else None
    return Runs(runs=[RunOut.of(dataset, run) for run in page[:limit]], next=next_before)


@router.get(
    "/datasets/{dataset_id}/runs/{run}",
    response={200: RunOut, 401: Error, 404: Error, 422: InvalidError, 429: Error, 503: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="get_run",
    summary="One run",
)
def get_run(request: HttpRequest, dataset_id: DatasetId, run: RunNumber) -> RunOut:
    """A run by its number within the dataset."""
    dataset = get_visible(caller_of(request), dataset_id)
    found = Run.objects.filter(dataset=dataset, number=run).first()
    if found is None:
        raise HttpError(404, "There is no such run.")
    return RunOut.of(dataset, found)
