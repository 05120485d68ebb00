"""The datasets that a request names, for whoever it comes from: what may not be seen does not exist."""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from ninja.errors import HttpError

from apps.core.sql import rows_in
from apps.datasets.access.callers import Caller
from apps.datasets.models import DATASET_ID_PATTERN, Dataset
from apps.datasets.services import make_dataset

from .errors import NO_DATASET

DETAILS: Final = {
    HTTPStatus.FORBIDDEN: "This token may not write this dataset.",
    HTTPStatus.NOT_FOUND: NO_DATASET,
}


def readable(caller: Caller, dataset_id: str) -> Dataset:
    """A dataset that ``caller`` may see. Raises `HttpError` 404."""
    found = (
        caller.visible().filter(dataset_id=dataset_id).first() if re.fullmatch(DATASET_ID_PATTERN, dataset_id) else None
    )
    if found is None:
        raise _refusal(HTTPStatus.NOT_FOUND)
    return found


def writable(caller: Caller, dataset_id: str, *, make: bool = False) -> Dataset:
    """A dataset that ``caller`` may report on, made if it may be. Raises `HttpError` 403 and 404."""
    if not re.fullmatch(DATASET_ID_PATTERN, dataset_id):
        raise _refusal(HTTPStatus.NOT_FOUND)
    known, absent = find_many(caller, [dataset_id])
    found = make_or_find(caller, dataset_id)[0] if make and dataset_id in absent else known[dataset_id]
    if isinstance(found, HTTPStatus):
        raise _refusal(found)
    return found


def steerable(caller: Caller, dataset_id: str) -> Dataset:
    """A dataset that ``caller`` may pause, cancel and delete. Raises `HttpError` 403 and 404."""
    dataset = writable(caller, dataset_id)
    if not caller.may_steer(dataset):
        raise _refusal(HTTPStatus.FORBIDDEN)
    return dataset


def find_many(caller: Caller, dataset_ids: Collection[str]) -> tuple[dict[str, Dataset | HTTPStatus], set[str]]:
    """Datasets, a refusal in place of those that ``caller`` may not write; and the ids of those that it may make,
    because there are none.
    """
    # What is there is read once: another may be making one at this very moment.
    there = {dataset.dataset_id: dataset for dataset in rows_in(Dataset, "dataset_id", dataset_ids)}
    known: dict[str, Dataset | HTTPStatus] = dict.fromkeys(dataset_ids, HTTPStatus.FORBIDDEN)
    known |= caller.writable(there.values())
    covered = {one for one in dataset_ids if caller.may_create(one)}
    absent = covered - there.keys()
    hidden = {key for key in covered & there.keys() if not isinstance(known[key], Dataset)}
    if hidden:
        hidden -= set(caller.visible().filter(dataset_id__in=hidden).values_list("dataset_id", flat=True))
    known |= dict.fromkeys(absent | hidden, HTTPStatus.NOT_FOUND)
    return known, absent


def make_or_find(caller: Caller, dataset_id: str) -> tuple[Dataset | HTTPStatus, bool]:
    """A dataset that was not there a moment ago, and whether it is new: somebody else may have been
    quicker, who need not let ``caller`` write.
    """
    try:
        with transaction.atomic():
            return make_dataset(dataset_id, owner=caller.user), True
    except (IntegrityError, ValidationError):
        return find_many(caller, [dataset_id])[0][dataset_id], False


def _refusal(status: HTTPStatus) -> HttpError:
    return HttpError(status, DETAILS[status])
