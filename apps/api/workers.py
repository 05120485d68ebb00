"""List the workers of a run."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query
from ninja.errors import HttpError

from apps.datasets.access.lookup import get_visible
from apps.progress.models import Run
from apps.progress.selectors import workers_of

from .answers import Error, InvalidError, WorkerOut, WorkersOut
from .auth import READ_SECURITY, caller_of, spend_rows
from .fields import DatasetId, Limit, RunNumber
from .routing import router

REFUSALS: Final[dict[int, Any]] = {401: Error, 404: Error, 422: InvalidError, 429: Error, 503: Error}


@router.get(
    "/datasets/{dataset_id}/runs/{run}/workers",
    response={200: WorkersOut, **REFUSALS},
    tags=["Runs"],
    openapi_extra=READ_SECURITY,
    operation_id="list_workers",
    summary="The workers of a run",
)
def list_workers(
    request: HttpRequest,
    dataset_id: DatasetId,
    run: RunNumber,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Those that follow it.")] = 0,
    limit: Limit = 50,
) -> WorkersOut:
    """Each worker that reports a share of its own, once for each stage, in the order in which they came.

    `next` of one answer is the `after` that asks for what follows.
    """
    spend_rows(request, limit)
    found = Run.objects.filter(dataset=get_visible(caller_of(request), dataset_id), number=run).first()
    if found is None:
        raise HttpError(404, "There is no such run.")
    workers, after_last = workers_of(found, after=after, limit=limit, now=timezone.now())
    return WorkersOut(workers=[WorkerOut.of(worker) for worker in workers], next=after_last)
