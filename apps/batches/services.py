"""Every write of batches. The admin's forms alone save through Django's `ModelAdmin`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from apps.datasets.access.errors import AccessDenied, NotAllowed
from apps.datasets.access.lookup import find_steerable
from apps.datasets.access.rules import Caller
from apps.datasets.dataset_ids import is_dataset_id
from apps.datasets.models import Dataset

from .access import check_may_create, may_change
from .errors import BatchFull, BatchQuotaReached, UnknownMembers
from .models import Batch, BatchMember

# Datasets in one batch.
MOST_MEMBERS: Final = 10_000
# A batch has ended once no run in it has ended or goes on for so long: jobs that follow each other are one.
QUIET: Final = timedelta(minutes=1)


def create_batch(
    caller: Caller, batch_id: str, *, name: str = "", limit: int = 0, dataset_ids: Collection[str] = ()
) -> Batch:
    """Create a batch of datasets that the caller may see. It belongs to the caller's user.

    Raises `NotAllowed`, `UnknownMembers`, and `ValidationError` for an id that is malformed or taken.
    """
    check_may_create(caller)
    with transaction.atomic():
        _check_quota(caller)
        batch = Batch(batch_id=batch_id, name=name, limit=limit, owner_id=caller.user.pk if caller.user else None)
        batch.full_clean()
        batch.save()
        add_datasets(caller, batch, dataset_ids)
    return batch


def _check_quota(caller: Caller) -> None:
    """Raise `BatchQuotaReached` where the caller's user owns as many batches as a user may own datasets."""
    quota: int = settings.DATASETS_PER_USER
    if not quota or caller.user is None or caller.user.pk is None or caller.is_staff:
        return
    # Of two processes that create a user's batches, the second counts what the first has created.
    get_user_model()._default_manager.select_for_update(no_key=True).filter(pk=caller.user.pk).first()
    if Batch.objects.filter(owner_id=caller.user.pk).count() >= quota:
        raise BatchQuotaReached(quota)


def change_batch(batch: Batch, *, name: str | None = None, limit: int | None = None) -> Batch:
    """Set the name and the limit; None leaves what it is. Returns the batch. Raises `ValidationError`."""
    with transaction.atomic():
        batch = Batch.objects.select_for_update(no_key=True).get(pk=batch.pk)
        changed = {key: value for key, value in (("name", name), ("limit", limit)) if value is not None}
        for key, value in changed.items():
            setattr(batch, key, value)
        if changed:
            batch.version += 1
            batch.changed_at = timezone.now()
            batch.full_clean()
            batch.save(update_fields=[*changed, "version", "changed_at"])
    return batch


def add_datasets(caller: Caller, batch: Batch, dataset_ids: Collection[str]) -> None:
    """Add datasets that the caller may see; all of them, or none. One that is in the batch already stays.

    The batch's limit holds for those that the caller may steer. Raises `UnknownMembers` and `BatchFull`. A constant
    number of queries.
    """
    wanted = list(dict.fromkeys(dataset_ids))
    if not wanted:
        return
    ids = list(filter(is_dataset_id, wanted))
    visible = dict(caller.visible().filter(dataset_id__in=ids).values_list("dataset_id", "pk"))
    if unknown := [dataset_id for dataset_id in wanted if dataset_id not in visible]:
        raise UnknownMembers(unknown)
    steerable = {key for key, found in find_steerable(caller, wanted).items() if isinstance(found, Dataset)}
    with transaction.atomic():
        Batch.objects.filter(pk=batch.pk).update(version=F("version") + 1, changed_at=timezone.now())  # and its lock
        rows = [
            BatchMember(batch=batch, dataset_id=visible[dataset_id], is_limited=dataset_id in steerable)
            for dataset_id in wanted
        ]
        BatchMember.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)
        if BatchMember.objects.filter(batch=batch).count() > MOST_MEMBERS:
            raise BatchFull(MOST_MEMBERS)


def gather(batch_id: str, dataset_pks: Collection[int], *, limit: int | None = None) -> Batch:
    """Put datasets, by row id, into a batch that is created where there is none. For commands, which may do anything.

    ``limit``: from now on; None leaves what it is. Raises `ValidationError` for a malformed id.
    """
    with transaction.atomic():
        batch = Batch.objects.filter(batch_id=batch_id).first()
        if batch is None:
            batch = Batch(batch_id=batch_id)
            batch.full_clean()
            batch.save()
        batch = change_batch(batch, limit=limit)
        rows = [BatchMember(batch=batch, dataset_id=pk, is_limited=True) for pk in dataset_pks]
        BatchMember.objects.bulk_create(
            rows, batch_size=1000, update_conflicts=True, unique_fields=["batch", "dataset"],
            update_fields=["is_limited"],
        )  # fmt: skip
    return batch


def remove_datasets(caller: Caller, batch: Batch, dataset_ids: Collection[str]) -> None:
    """Take datasets out of a batch; one that is not in it is out already.

    Whoever may change the batch may take out any, and whoever may steer a dataset may take that one out. Raises
    `NotAllowed`, and then changes nothing.
    """
    wanted = list(dict.fromkeys(dataset_ids))
    if not may_change(caller, batch):
        found = find_steerable(caller, wanted)
        if not wanted or not all(isinstance(one, Dataset) for one in found.values()):
            raise NotAllowed("You may not change this batch.")
    ids = Q(dataset__dataset_id__in=list(filter(is_dataset_id, wanted)), dataset__deleted_at=None)
    with transaction.atomic():
        Batch.objects.filter(pk=batch.pk).update(version=F("version") + 1, changed_at=timezone.now())
        BatchMember.objects.filter(ids, batch=batch).delete()


def delete_batch(batch: Batch) -> None:
    """Delete a batch. Its datasets and their runs stay."""
    batch.delete()


def join_batch(caller: Caller, batch_id: str, dataset_ids: Collection[str]) -> None:
    """Have datasets that the caller reports on be in a batch, which is created where there is none.

    A batch that there is takes them from whoever may change it. One that they are in needs no right at all. Raises
    `NotAllowed`, `UnknownMembers`, `BatchFull`, and `ValidationError` for a malformed id.
    """
    batch = Batch.objects.filter(batch_id=batch_id).first()
    if batch is None:
        try:
            with transaction.atomic():
                create_batch(caller, batch_id, dataset_ids=dataset_ids)
        except IntegrityError:
            batch = Batch.objects.get(batch_id=batch_id)  # another process was quicker
        else:
            return
    inside = BatchMember.objects.filter(batch=batch, dataset__dataset_id__in=dataset_ids, dataset__deleted_at=None)
    absent = set(dataset_ids) - set(inside.values_list("dataset__dataset_id", flat=True))
    if not absent:
        return
    if not may_change(caller, batch):
        raise NotAllowed(f"You may not add to the batch {batch_id}: another owns it.")
    add_datasets(caller, batch, sorted(absent))


def join_batches(caller: Caller, members: Mapping[str, Collection[str]]) -> dict[str, AccessDenied]:
    """Have the datasets of each batch be in it, as `join_batch`. Returns why batches refused.

    Raises `ValidationError`.
    """
    rows = dict(Batch.objects.filter(batch_id__in=members).values_list("batch_id", "pk"))
    refused: dict[str, AccessDenied] = {}
    # As every worker locks them: by row, and those that are new last.
    for batch_id in sorted(members, key=lambda one: (rows.get(one, math.inf), one)):
        try:
            join_batch(caller, batch_id, members[batch_id])
        except AccessDenied as refusal:
            refused[batch_id] = refusal
    return refused


@transaction.atomic
def schedule_end_checks(dataset_pks: Collection[int]) -> None:
    """Have the batches of datasets whose runs have just ended be looked at after `QUIET`."""
    members = BatchMember.objects.filter(dataset__in=dataset_pks)
    batches = Batch.objects.filter(pk__in=members.values("batch"))
    # In this order by every worker, so that none waits for another that waits for it.
    pks = list(batches.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
    if pks:
        Batch.objects.filter(pk__in=pks).update(end_check_at=timezone.now() + QUIET)


def take_end_check(batch_pk: int) -> Batch | None:
    """Lock a batch that is to be looked at now, and settle that. None where another worker was quicker.

    Call it in the transaction that writes what came of it.
    """
    due = Batch.objects.filter(pk=batch_pk, end_check_at__lte=timezone.now())
    batch = due.select_for_update(no_key=True, skip_locked=True).first()
    if batch is not None:
        Batch.objects.filter(pk=batch.pk).update(end_check_at=None)
    return batch
