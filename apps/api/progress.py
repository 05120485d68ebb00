"""How far a dataset is: the `DatasetProgress` object over HTTP."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.http import quote_etag
from ninja import Path
from pydantic import WithJsonSchema

from apps.datasets.models import DATASET_ID_PATTERN
from apps.progress.selectors import facts_for
from apps.progress.snapshot import DatasetProgress, Facts, health_of, snapshot

from .auth import READ_SECURITY, caller_of
from .errors import Error, in_bytes, not_found
from .routing import router

TAGS = ["Progress"]

DatasetId = Annotated[
    str,
    # Only described, not validated: an id that no dataset can have is unknown like any other, a 404 and no 422.
    WithJsonSchema({"type": "string", "pattern": f"^{DATASET_ID_PATTERN}$"}),
    Path(description="The dataset's id."),
]

HEADERS: dict[str, Any] = {
    "ETag": {"description": "Changes with the version and with the health.", "schema": {"type": "string"}},
    "Cache-Control": {"description": "`no-cache`: ask again before using it.", "schema": {"type": "string"}},
}
OPENAPI: dict[str, Any] = {
    **READ_SECURITY,
    "parameters": [
        {
            "in": "header", "name": "If-None-Match", "required": False, "schema": {"type": "string"},
            "description": "The `ETag` of the last answer: 304 and no body while it still holds.",
        }
    ],
    "responses": {200: {"headers": HEADERS}, 304: {"description": "Not Modified", "headers": HEADERS}},
}  # fmt: skip


def etag_of(facts: Facts, now: datetime) -> str:
    """The strong ETag of what `snapshot` shows of ``facts`` at ``now``.

    The version changes with everything that is written. Health changes while nothing is: a run that falls silent goes
    from live over slow to lost by the clock alone, and takes its time left along, so it stands in the tag beside the
    version. A live one and one that has no health need no word for it.
    """
    health = health_of(facts.run, now) if facts.run else None
    return quote_etag(f"{facts.version}" if health in (None, "live") else f"{facts.version}-{health}")


@router.get(
    "/datasets/{dataset_id}/progress",
    response={200: DatasetProgress, 304: None, 401: Error, 404: Error, 412: Error, 429: Error},
    tags=TAGS,
    operation_id="get_dataset_progress",
    summary="How far a dataset is",
    openapi_extra=OPENAPI,
)
def get_progress(request: HttpRequest, dataset_id: DatasetId) -> HttpResponseBase:
    """The state of a dataset now, with its stages, rate and time left.

    Send the `ETag` of the last answer as `If-None-Match` and poll as often as you like: an unchanged dataset answers
    304 without a body. A dataset that you may not see answers as one that does not exist.
    """
    if not re.fullmatch(DATASET_ID_PATTERN, dataset_id):
        return not_found()
    facts = facts_for(caller_of(request), dataset_id)
    if facts is None:
        return not_found()
    now = timezone.now()
    etag = etag_of(facts, now)
    response = get_conditional_response(request, etag=etag)
    if response is None:
        # The bytes that sockets send, and no second validation of what was validated when it was made.
        response = in_bytes(snapshot(facts, now).model_dump_json())
    response["ETag"] = etag
    response["Cache-Control"] = "no-cache"
    patch_vary_headers(response, ["Authorization"])
    return response


# A route of its own: as a second method of the one above it would stand in the description under the same id.
router.api_operation(["HEAD"], "/datasets/{dataset_id}/progress", include_in_schema=False)(get_progress)
