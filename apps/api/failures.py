"""List the failed items of a run, as JSON in pages or as CSV."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Final, Literal

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Query
from ninja.errors import HttpError

from apps.datasets.access.lookup import get_visible
from apps.progress.models import ItemFailure, Run, UnlistedFailures

from .answers import Error, FailureOut, Failures, InvalidError, UnlistedOut
from .auth import READ_SECURITY, caller_of, spend_rows
from .fields import DatasetId, Limit, RunNumber
from .responses import json_response
from .routing import router

ROWS_OF_CSV: Final = 10_000
CSV: Final[dict[str, Any]] = {
    **READ_SECURITY,
    "responses": {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
}
REFUSALS: Final[dict[int, Any]] = {401: Error, 404: Error, 422: InvalidError, 429: Error, 503: Error}

Search = Annotated[str, Query(max_length=200, description="Part of an item or a reason.")]
StageName = Annotated[str, Query(max_length=64, description="Those of this stage alone.")]
After = Annotated[int, Query(ge=0, le=2**63 - 1, description="Those that follow it.")]
Format = Annotated[Literal["json", "csv"], Query(description=f"`csv`: up to {ROWS_OF_CSV:,} rows at once.")]


@router.get(
    "/datasets/{dataset_id}/failures",
    response={200: Failures, **REFUSALS},
    tags=["Runs"],
    openapi_extra=CSV,
    operation_id="list_latest_failures",
    summary="The failed items of the latest run",
)
def list_latest_failures(
    request: HttpRequest, dataset_id: DatasetId, search: Search = "", stage: StageName = "", after: After = 0,
    limit: Limit = 50, format: Format = "json",  # noqa: A002 -- the name of the parameter
) -> HttpResponseBase:  # fmt: skip
    """In the order in which they were reported; `next` is the `after` that asks for what follows."""
    runs = Run.objects.filter(dataset=get_visible(caller_of(request), dataset_id))
    return _answer(request, runs.order_by("-number").first(), search, stage, after, limit, format)


@router.get(
    "/datasets/{dataset_id}/runs/{run}/failures",
    response={200: Failures, **REFUSALS},
    tags=["Runs"],
    openapi_extra=CSV,
    operation_id="list_failures",
    summary="The failed items of a run",
)
def list_failures(
    request: HttpRequest, dataset_id: DatasetId, run: RunNumber, search: Search = "", stage: StageName = "",
    after: After = 0, limit: Limit = 50, format: Format = "json",  # noqa: A002 -- the name of the parameter
) -> HttpResponseBase:  # fmt: skip
    """In the order in which they were reported; `next` is the `after` that asks for what follows."""
    runs = Run.objects.filter(dataset=get_visible(caller_of(request), dataset_id), number=run)
    return _answer(request, runs.first(), search, stage, after, limit, format)


def _answer(
    request: HttpRequest, run: Run | None, search: str, stage: str, after: int, limit: int, form: str
) -> HttpResponseBase:
    if run is None:
        raise HttpError(404, "There is no such run.")
    limit = ROWS_OF_CSV if form == "csv" else limit
    spend_rows(request, limit)
    rows = _matching(run, search, stage).filter(pk__gt=after)
    page = list(rows[: limit + 1])
    following = page[limit - 1].pk if page[limit:] else None
    if form == "csv":
        response = _csv(run, page[:limit])
        if following is not None:
            query = request.GET.copy()
            query["after"] = str(following)
            response["Link"] = f'<?{query.urlencode()}>; rel="next"'
        return response
    unlisted = [] if after else UnlistedFailures.objects.filter(run=run)
    answer = Failures(
        run=run.number,
        failures=[FailureOut(item=row.item, reason=row.reason, stage=row.stage, at=row.at) for row in page[:limit]],
        unlisted=[UnlistedOut(stage=row.stage, reason=row.reason, count=row.count) for row in unlisted],
        next=following,
    )
    return json_response(answer.model_dump_json())


def _matching(run: Run, search: str, stage: str) -> QuerySet[ItemFailure]:
    failures = ItemFailure.objects.filter(run=run).order_by("pk")
    # PostgreSQL refuses NUL, which is in no item and no reason.
    if search := search.replace("\0", ""):
        failures = failures.filter(Q(item__icontains=search) | Q(reason__icontains=search))
    if stage := stage.replace("\0", ""):
        failures = failures.filter(stage=stage)
    return failures


def _csv(run: Run, rows: list[ItemFailure]) -> HttpResponse:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["item", "reason", "stage", "at"])
    writer.writerows([row.item, row.reason, row.stage, row.at.isoformat()] for row in rows)
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="failures-{run.number}.csv"'
    return response
