"""Read the progress of a dataset: the `DatasetProgress` object over HTTP."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.http import quote_etag

from apps.datasets.access.errors import UnknownDataset
from apps.datasets.dataset_ids import is_dataset_id
from apps.progress.facts import Facts, Vitals, vitals_of
from apps.progress.polls import UNCHANGED, note_facts
from apps.progress.selectors import facts_for
from apps.progress.snapshot import DatasetProgress, snapshot

from .answers import Error
from .auth import READ_SECURITY, caller_of
from .fields import DatasetId
from .responses import conditional_response
from .routing import router

HEADERS: Final[dict[str, Any]] = {
    "ETag": {
        "description": "Changes with epoch, version, health and silent workers.",
        "schema": {"type": "string"},
    },
    "Cache-Control": {"description": "`no-cache`: ask again before using it.", "schema": {"type": "string"}},
}
OPENAPI: Final[dict[str, Any]] = {
    **READ_SECURITY,
    "parameters": [
        {
            "in": "header", "name": "If-None-Match", "required": False, "schema": {"type": "string"},
            "description": "The `ETag` of the last answer: 304 and no body while it still holds.",
        }
    ],
    "responses": {200: {"headers": HEADERS}, 304: {"description": "Not Modified", "headers": HEADERS}},
}  # fmt: skip


def etag_of(facts: Facts, vitals: Vitals) -> str:
    """Return the strong ETag of what `snapshot` makes of ``facts`` that have these ``vitals`` (`vitals_of`).

    The version changes with every write, and the epoch when the database is restored. The health of a silent run
    changes without one, by the clock, and its time left with it, so the tag names a health other than live, and how
    many workers are silent.
    """
    health, silent = vitals
    tag = f"{facts.epoch}-{facts.version}"
    tag = tag if health in (None, "live") else f"{tag}-{health}"
    return quote_etag(f"{tag}-{silent}" if silent else tag)


def json_variant(etag: str, facts: Facts, vitals: Vitals) -> str:
    """Return which answer a client with this ``etag`` (empty: none) gets: all that get the same are answered alike."""
    return UNCHANGED if etag == etag_of(facts, vitals) else "whole"


@router.get(
    "/datasets/{dataset_id}/progress",
    response={200: DatasetProgress, 304: None, 401: Error, 404: Error, 412: Error, 429: Error, 503: Error},
    tags=["Progress"],
    operation_id="get_dataset_progress",
    summary="How far a dataset is",
    openapi_extra=OPENAPI,
)
def get_progress(request: HttpRequest, dataset_id: DatasetId) -> HttpResponseBase:
    """The state of a dataset now, with its stages, rate and time left.

    Send the `ETag` of the last answer as `If-None-Match` and poll as often as you like: an unchanged dataset answers
    304 without a body. A dataset that you may not see answers as one that does not exist.
    """
    facts = facts_for(caller_of(request), dataset_id) if is_dataset_id(dataset_id) else None
    if facts is None:
        raise UnknownDataset
    now = timezone.now()
    note_facts(request, facts, now)
    # The same JSON that sockets send.
    etag = etag_of(facts, vitals_of(facts, now))
    return conditional_response(request, etag, lambda: snapshot(facts, now).model_dump_json())


# A route of its own: as a second method of the one above it would have the same operation id in OpenAPI.
router.api_operation(["HEAD"], "/datasets/{dataset_id}/progress", include_in_schema=False)(get_progress)
