"""Datasets: listed, searched, read and deleted."""

from __future__ import annotations

from typing import Annotated, Literal

from django.db.models import Q
from django.http import HttpRequest
from ninja import Query, Status
from ninja.errors import HttpError
from pydantic import BaseModel, Field

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.progress.selectors import in_state, progress_of_many
from apps.progress.snapshot import DatasetProgress, Moment
from apps.progress.transitions import State

from .auth import READ_SECURITY, WRITE, caller_of
from .errors import NO_DATASET, Error, InvalidError
from .permitted import readable, steerable
from .progress import DatasetId
from .routing import router

TAGS = ["Datasets"]

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]


class DatasetOut(BaseModel):
    """A dataset, and how far it is."""

    dataset_id: str
    name: str = Field(description="Empty where it has none beside its id.")
    visibility: Literal["public", "private"]
    created_at: Moment
    progress: DatasetProgress


class Datasets(BaseModel):
    """Datasets in the order of their ids."""

    datasets: list[DatasetOut]
    next: str | None = Field(description="The `after` that asks for what follows; null at the end.")


def _out(datasets: list[Dataset]) -> list[DatasetOut]:
    progress = progress_of_many(dataset.pk for dataset in datasets)
    return [
        DatasetOut(
            dataset_id=dataset.dataset_id, name=dataset.name, visibility=dataset.visibility,
            created_at=dataset.created_at, progress=progress[dataset.pk],
        )
        for dataset in datasets
        if dataset.pk in progress  # one may have been deleted between the two queries
    ]  # fmt: skip


@router.get(
    "/datasets",
    response={200: Datasets, 401: Error, 422: InvalidError, 429: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="list_datasets",
    summary="The datasets",
)
def list_datasets(
    request: HttpRequest,
    search: Annotated[str, Query(max_length=200, description="Part of an id or a name.")] = "",
    state: Annotated[State | None, Query(description="Those in this state alone.")] = None,
    after: Annotated[str, Query(max_length=128, description="Those that follow this id.")] = "",
    limit: Limit = 50,
) -> Datasets:
    """Those that you may see, in the order of their ids; `next` is the `after` that asks for what follows."""
    datasets = caller_of(request).visible().order_by("dataset_id")
    if search := search.replace("\0", ""):
        datasets = datasets.filter(Q(dataset_id__icontains=search) | Q(name__icontains=search))
    if state is not None:
        datasets = in_state(datasets, state)
    if after := after.replace("\0", ""):
        datasets = datasets.filter(dataset_id__gt=after)
    page = list(datasets[: limit + 1])
    return Datasets(datasets=_out(page[:limit]), next=page[limit - 1].dataset_id if page[limit:] else None)


@router.get(
    "/datasets/{dataset_id}",
    response={200: DatasetOut, 401: Error, 404: Error, 429: Error},
    tags=TAGS,
    openapi_extra=READ_SECURITY,
    operation_id="get_dataset",
    summary="One dataset",
)
def get_dataset(request: HttpRequest, dataset_id: DatasetId) -> DatasetOut:
    """A dataset by its id. One that you may not see answers as one that does not exist."""
    found = _out([readable(caller_of(request), dataset_id)])
    if not found:
        raise HttpError(404, NO_DATASET)
    return found[0]


@router.delete(
    "/datasets/{dataset_id}",
    auth=WRITE,
    response={204: None, 401: Error, 403: Error, 404: Error, 409: Error, 429: Error},
    tags=TAGS,
    operation_id="delete_dataset",
    summary="Delete a dataset",
)
def remove_dataset(request: HttpRequest, dataset_id: DatasetId) -> Status[None]:
    """Delete a dataset with its runs and samples. The folder of its images stays as it is.

    For its owner, staff, and the site's own tokens; members may report.
    """
    delete_dataset(steerable(caller_of(request), dataset_id))
    return Status(204, None)
