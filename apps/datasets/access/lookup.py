"""Look up the datasets that a request names. A dataset that the caller may not see does not exist."""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from apps.core.sql import rows_in
from apps.datasets.dataset_ids import is_dataset_id
from apps.datasets.models import Dataset

from .creation import create, refusals
from .errors import AccessDenied, NotAllowed, UnknownDataset
from .rules import Caller


def get_visible(caller: Caller, dataset_id: str) -> Dataset:
    """Return a dataset that the caller may see. Raises `UnknownDataset`."""
    found = caller.visible().filter(dataset_id=dataset_id).first() if is_dataset_id(dataset_id) else None
    if found is None:
        raise UnknownDataset
    return found


def get_writable(caller: Caller, dataset_id: str) -> Dataset:
    """Return a dataset that the caller may report on. Raises `UnknownDataset` and `NotAllowed`."""
    return _found(find_writable(caller, [dataset_id])[0][dataset_id])


def get_or_create_writable(caller: Caller, dataset_id: str, *, visibility: str = "") -> Dataset:
    """Return a dataset that the caller may report on, created where there is none. Raises like `get_writable`.

    ``visibility``: that of a new dataset; empty: what ``DATASETS_PUBLIC`` says.
    """
    found, absent = find_writable(caller, [dataset_id])
    if dataset_id in absent:
        found[dataset_id] = create_or_find(caller, dataset_id, visibility=visibility)[0]
    return _found(found[dataset_id])


def get_steerable(caller: Caller, dataset_id: str) -> Dataset:
    """Return a dataset that the caller may pause, cancel, process and retry. Raises `UnknownDataset` and `NotAllowed`.

    A token has to be allowed to report on it as well.
    """
    return _found(find_steerable(caller, [dataset_id])[dataset_id])


def get_manageable(caller: Caller, dataset_id: str) -> Dataset:
    """Return a dataset that the caller may delete and share. Raises `UnknownDataset` and `NotAllowed`.

    A token has to be allowed to report on it as well.
    """
    dataset = get_visible(caller, dataset_id) if caller.token is None else get_writable(caller, dataset_id)
    if not caller.may_manage(dataset):
        raise NotAllowed
    return dataset


def find_steerable(caller: Caller, dataset_ids: Collection[str]) -> dict[str, Dataset | AccessDenied]:
    """Return for each id the dataset, or why the caller may not steer it. However many ids there are: at most two
    queries for a user, and ten for a token.
    """
    found: dict[str, Dataset | AccessDenied] = dict.fromkeys(dataset_ids, UnknownDataset())
    ids = [dataset_id for dataset_id in found if is_dataset_id(dataset_id)]
    if caller.token is None:
        found |= {dataset.dataset_id: dataset for dataset in caller.visible().filter(dataset_id__in=ids)}
    else:
        found |= find_writable(caller, ids)[0]
    steerable = caller.steerable([dataset for dataset in found.values() if isinstance(dataset, Dataset)])
    refused = NotAllowed("You may not steer this dataset.")
    return {
        dataset_id: refused if isinstance(dataset, Dataset) and dataset_id not in steerable else dataset
        for dataset_id, dataset in found.items()
    }


def find_writable(caller: Caller, dataset_ids: Collection[str]) -> tuple[dict[str, Dataset | AccessDenied], set[str]]:
    """Return for each id the dataset, or why the caller may not report on it; and the ids that the caller may create.

    However many ids there are: at most two queries where the caller may report on all, and nine else.
    """
    # Read once: with two reads, a dataset created in between would be both absent and existing.
    existing = {
        dataset.dataset_id: dataset
        for dataset in rows_in(Dataset, "dataset_id", dataset_ids, where="deleted_at IS NULL")
    }
    found: dict[str, Dataset | AccessDenied] = dict.fromkeys(dataset_ids, NotAllowed())
    found |= caller.writable(existing.values())
    covered = {dataset_id for dataset_id in dataset_ids if caller.may_report_on(dataset_id)}
    absent = covered - existing.keys()
    hidden = {dataset_id for dataset_id in covered & existing.keys() if not isinstance(found[dataset_id], Dataset)}
    if hidden:
        hidden -= set(caller.visible().filter(dataset_id__in=hidden).values_list("dataset_id", flat=True))
    # A hidden dataset is answered as one that nobody has, so the rule of who may create it speaks first.
    refused = refusals(caller, absent | hidden)
    found |= dict.fromkeys(absent | hidden, UnknownDataset())
    found |= refused
    return found, absent - refused.keys()


def create_or_find(caller: Caller, dataset_id: str, *, visibility: str = "") -> tuple[Dataset | AccessDenied, bool]:
    """Create a dataset that did not exist a moment ago. Returns it, and whether it is new.

    Another process may have been quicker. Then its dataset is returned, or why the caller may not report on that.
    """
    try:
        with transaction.atomic():
            return create(caller, dataset_id, visibility=visibility), True
    except NotAllowed as refusal:
        return refusal, False
    except (IntegrityError, ValidationError):
        return find_writable(caller, [dataset_id])[0][dataset_id], False


def _found(found: Dataset | AccessDenied) -> Dataset:
    if isinstance(found, AccessDenied):
        raise found
    return found
