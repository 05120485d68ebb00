"""Create, read, change, follow and steer batches."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.http import quote_etag
from ninja import Body, Status

from apps.batches import services
from apps.batches.access import get_changeable_batch, get_visible_batch, may_change, members_of, visible_batches
from apps.batches.progress import BatchFacts, BatchProgress, batch_progress
from apps.batches.selectors import batch_facts, count_members, progress_of_batch
from apps.batches.steering import steer_batch
from apps.datasets.access.errors import NotAllowed

from .answers import Datasets, Error, InvalidError, SteeredMany
from .auth import READ_SECURITY, WRITE, caller_of, spend_rows
from .batch_schemas import BatchChangeBody, Batches, BatchOut, BatchRow, NewBatchBody
from .bodies import ControlBody
from .control import action_of, steered
from .datasets import with_progress
from .errors import WRITE_REFUSALS
from .fields import BatchId, Limit
from .paging import After, page_after
from .progress import OPENAPI
from .responses import conditional_response
from .routing import router

TAGS = ["Batches"]


@router.post(
    "/batches",
    auth=WRITE,
    response={201: BatchOut, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="create_batch",
    summary="Create a batch",
)
def create_batch(request: HttpRequest, body: Body[NewBatchBody]) -> Status[BatchOut]:
    """Put datasets under one name. Whoever may create datasets may, of any datasets that they may see.

    Nothing is created where one of the datasets is unknown.
    """
    caller = caller_of(request)
    batch = services.create_batch(caller, body.batch_id, name=body.name, limit=body.limit, dataset_ids=body.datasets)
    return Status(201, BatchOut.of(batch, progress_of_batch(caller, batch)))


@router.get(
    "/batches",
    response={200: Batches, 401: Error, 422: InvalidError, 429: Error, 503: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="list_batches",
    summary="The batches",
)
def list_batches(
    request: HttpRequest,
    after: After = "",
    limit: Limit = 50,
) -> Batches:
    """Your own, and those with a dataset that you may see, in the order of their ids."""
    spend_rows(request, limit)
    caller = caller_of(request)
    batches, following = page_after(visible_batches(caller), "batch_id", after, limit)
    counts = count_members(caller, batches)
    return Batches(batches=[BatchRow.of(batch, counts.get(batch.pk, 0)) for batch in batches], next=following)


@router.get(
    "/batches/{batch_id}",
    response={200: BatchOut, 401: Error, 404: Error, 429: Error, 503: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="get_batch",
    summary="One batch",
)
def get_batch(request: HttpRequest, batch_id: BatchId) -> BatchOut:
    """A batch by its id. One of which you may see no dataset answers as one that does not exist."""
    caller = caller_of(request)
    batch = get_visible_batch(caller, batch_id)
    return BatchOut.of(batch, progress_of_batch(caller, batch))


@router.patch(
    "/batches/{batch_id}",
    auth=WRITE,
    response={200: BatchOut, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="change_batch",
    summary="Change a batch",
)
def change_batch(request: HttpRequest, batch_id: BatchId, body: Body[BatchChangeBody]) -> BatchOut:
    """Add and remove datasets, set the name and the limit: all of it, or nothing.

    For its owner, staff, and the site's own tokens. Whoever may steer a dataset may take that one out of any batch.
    """
    caller = caller_of(request)
    batch = get_visible_batch(caller, batch_id)
    is_more_than_removal = body.add or body.name is not None or body.limit is not None
    if is_more_than_removal and not may_change(caller, batch):
        raise NotAllowed("You may not change this batch.")
    with transaction.atomic():
        services.remove_datasets(caller, batch, body.remove)
        services.add_datasets(caller, batch, body.add)
        batch = services.change_batch(batch, name=body.name, limit=body.limit)
    return BatchOut.of(batch, progress_of_batch(caller, batch))


@router.delete(
    "/batches/{batch_id}",
    auth=WRITE,
    response={204: None, 401: Error, 403: Error, 404: Error, 409: Error, 429: Error, 503: Error},
    tags=TAGS,
    operation_id="delete_batch",
    summary="Delete a batch",
)
def delete_batch(request: HttpRequest, batch_id: BatchId) -> Status[None]:
    """Delete a batch. Its datasets stay, and their runs go on. For its owner, staff, and the site's own tokens."""
    services.delete_batch(get_changeable_batch(caller_of(request), batch_id))
    return Status(204, None)


@router.get(
    "/batches/{batch_id}/datasets",
    response={200: Datasets, 401: Error, 404: Error, 422: InvalidError, 429: Error, 503: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="list_batch_datasets",
    summary="The datasets of a batch",
)
def list_batch_datasets(
    request: HttpRequest,
    batch_id: BatchId,
    after: After = "",
    limit: Limit = 50,
) -> Datasets:
    """Those that you may see, with their progress, in the order of their ids."""
    spend_rows(request, limit)
    caller = caller_of(request)
    members = members_of(caller, get_visible_batch(caller, batch_id))
    datasets, following = page_after(members, "dataset_id", after, limit)
    return Datasets(datasets=with_progress(datasets), next=following)


def etag_of(facts: BatchFacts) -> str:
    """Return the strong ETag of a batch: its epoch, its version, and how many datasets need attention."""
    return quote_etag(f"{facts.epoch}-{facts.version}-{facts.vitals}")


@router.get(
    "/batches/{batch_id}/progress",
    response={200: BatchProgress, 304: None, 401: Error, 404: Error, 412: Error, 429: Error, 503: Error},
    tags=TAGS,
    operation_id="get_batch_progress",
    summary="How far a batch is",
    openapi_extra=OPENAPI,
)
def get_batch_progress(request: HttpRequest, batch_id: BatchId) -> HttpResponseBase:
    """The state of a batch now: its datasets by state, the percentage of the whole, and one time left.

    It counts the datasets that you may see. Send the `ETag` of the last answer as `If-None-Match`: a batch in which
    nothing has changed answers 304 without a body.
    """
    caller = caller_of(request)
    now: datetime = timezone.now()
    facts = batch_facts(caller, get_visible_batch(caller, batch_id), now)
    return conditional_response(request, etag_of(facts), lambda: batch_progress(facts).model_dump_json())


router.api_operation(["HEAD"], "/batches/{batch_id}/progress", include_in_schema=False)(get_batch_progress)


@router.post(
    "/batches/{batch_id}/control",
    auth=WRITE,
    response={200: SteeredMany, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="control_batch",
    summary="Steer all datasets of a batch",
)
def control_batch(request: HttpRequest, batch_id: BatchId, body: Body[ControlBody]) -> SteeredMany:
    """Pause, resume, cancel, end or retry every dataset of a batch. Each has a result of its own.

    Of those that you see, it does so to those that you may steer. `retry` also begins what has never run and has a
    folder.
    """
    caller = caller_of(request)
    batch = get_visible_batch(caller, batch_id)
    return SteeredMany(results=[steered(one) for one in steer_batch(caller, action_of(body), batch)])
