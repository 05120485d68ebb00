"""Read and change who sees a dataset."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest
from ninja import Body

from apps.datasets.access.lookup import get_manageable
from apps.datasets.access.sharing import share, sharing_of

from .answers import Error, SharingOut
from .auth import WRITE, caller_of
from .bodies import SharingBody
from .errors import WRITE_REFUSALS
from .fields import DatasetId
from .routing import router

TAGS = ["Datasets"]


@router.get(
    "/datasets/{dataset_id}/sharing",
    response={200: SharingOut, 401: Error, 403: Error, 404: Error, 429: Error, 503: Error},
    tags=TAGS,
    operation_id="get_sharing",
    summary="Who sees a dataset",
)
def get_sharing(request: HttpRequest, dataset_id: DatasetId) -> SharingOut:
    """The visibility, owner and members of a dataset. For its owner, staff, and the site's own tokens."""
    return SharingOut(**asdict(sharing_of(get_manageable(caller_of(request), dataset_id))))


@router.patch(
    "/datasets/{dataset_id}/sharing",
    auth=WRITE,
    response={200: SharingOut, **WRITE_REFUSALS},
    tags=TAGS,
    operation_id="change_sharing",
    summary="Change who sees a dataset",
)
def change_sharing(request: HttpRequest, dataset_id: DatasetId, body: Body[SharingBody]) -> SharingOut:
    """Set what is given and leave the rest. Whoever may no longer see the dataset loses it within five seconds.

    For its owner, staff, and the site's own tokens.
    """
    caller = caller_of(request)
    return SharingOut(**asdict(share(caller, get_manageable(caller, dataset_id), body.change())))
