"""List, search, read and delete datasets."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Query, Status

from apps.datasets.access.errors import UnknownDataset
from apps.datasets.access.lookup import get_manageable, get_visible
from apps.datasets.models import Dataset
from apps.datasets.search import has_part
from apps.datasets.services import delete_dataset, forget_missing_samples
from apps.progress.selectors import in_state, progress_of_many
from apps.progress.transitions import State

from .answers import DatasetDetail, DatasetOut, Datasets, Error, Forgotten, InvalidError
from .auth import READ_SECURITY, WRITE, caller_of, spend_rows
from .fields import DatasetId, Limit
from .paging import After, page_after
from .routing import router

TAGS = ["Datasets"]


@router.get(
    "/datasets",
    response={200: Datasets, 401: Error, 422: InvalidError, 429: Error, 503: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="list_datasets",
    summary="The datasets",
)
def list_datasets(
    request: HttpRequest,
    search: Annotated[str, Query(max_length=200, description="Part of an id or a name.")] = "",
    state: Annotated[State | None, Query(description="Those in this state alone.")] = None,
    after: After = "",
    limit: Limit = 50,
) -> Datasets:
    """Those that you may see, in the order of their ids; `next` is the `after` that asks for what follows."""
    spend_rows(request, limit)
    datasets = caller_of(request).visible()
    if search := search.replace("\0", ""):  # which is in no id and no name, and which PostgreSQL refuses
        datasets = datasets.filter(has_part(search))
    if state is not None:
        datasets = in_state(datasets, state)
    page, following = page_after(datasets, "dataset_id", after, limit)
    return Datasets(datasets=with_progress(page), next=following)


@router.get(
    "/datasets/{dataset_id}",
    response={200: DatasetDetail, 401: Error, 404: Error, 429: Error, 503: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="get_dataset",
    summary="One dataset",
)
def get_dataset(request: HttpRequest, dataset_id: DatasetId) -> DatasetDetail:
    """A dataset by its id. One that you may not see answers as one that does not exist."""
    dataset = get_visible(caller_of(request), dataset_id)
    progress = progress_of_many([dataset.pk])
    if dataset.pk not in progress:
        raise UnknownDataset
    return DatasetDetail.of(dataset, progress[dataset.pk])


@router.delete(
    "/datasets/{dataset_id}",
    auth=WRITE,
    response={204: None, 401: Error, 403: Error, 404: Error, 409: Error, 429: Error, 503: Error},
    tags=TAGS,
    operation_id="delete_dataset",
    summary="Delete a dataset",
)
def remove_dataset(request: HttpRequest, dataset_id: DatasetId) -> Status[None]:
    """Delete a dataset with its runs and samples. The folder of its images stays as it is.

    For its owner, staff, and the site's own tokens.
    """
    delete_dataset(get_manageable(caller_of(request), dataset_id))
    return Status(204, None)


@router.delete(
    "/datasets/{dataset_id}/missing",
    auth=WRITE,
    response={200: Forgotten, 401: Error, 403: Error, 404: Error, 409: Error, 429: Error, 503: Error},
    tags=TAGS,
    operation_id="forget_missing_samples",
    summary="Forget missing samples",
)
def forget_missing(request: HttpRequest, dataset_id: DatasetId) -> Forgotten:
    """Delete the samples whose files are gone, with their thumbnails and embeddings.

    For its owner, staff, and the site's own tokens.
    """
    return Forgotten(forgotten=forget_missing_samples(get_manageable(caller_of(request), dataset_id)))


def with_progress(datasets: list[Dataset]) -> list[DatasetOut]:
    """Return the datasets with their progress, without those that were deleted a moment ago."""
    progress = progress_of_many(dataset.pk for dataset in datasets)
    return [DatasetOut.of(dataset, progress[dataset.pk]) for dataset in datasets if dataset.pk in progress]
