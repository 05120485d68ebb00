"""Who may see and change a batch. What of its datasets a caller sees is what `Caller.visible` says, as everywhere."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.datasets.access.errors import MayNotAdd, NotAllowed
from apps.datasets.access.rules import Caller
from apps.datasets.dataset_ids import is_dataset_id
from apps.datasets.models import Dataset

from .errors import UnknownBatch
from .models import Batch, BatchMember


def members_of(caller: Caller, batch: Batch) -> QuerySet[Dataset]:
    """Return the datasets of a batch that the caller may see."""
    return caller.visible(Dataset.objects.filter(batch_memberships__batch=batch))


def visible_batches(caller: Caller) -> QuerySet[Batch]:
    """Return the batches that the caller may see: its own, and those with a dataset that it may see.

    One without datasets is seen by its owner, staff and the site's own tokens.
    """
    batches = Batch.objects.all()
    if not caller.may_read:
        return batches.none()
    seen = caller.visible(Dataset.objects.filter(batch_memberships__batch=OuterRef("pk")))
    rule: Any = Q(Exists(seen))
    if caller.user is not None and not caller.user.is_anonymous:
        rule |= Q(owner_id=caller.user.pk)
    if caller.has_every_right:
        rule |= ~Q(Exists(BatchMember.objects.filter(batch=OuterRef("pk"))))
    return batches.filter(rule)


def get_visible_batch(caller: Caller, batch_id: str) -> Batch:
    """Return a batch that the caller may see. Raises `UnknownBatch`."""
    found = visible_batches(caller).filter(batch_id=batch_id).first() if is_dataset_id(batch_id) else None
    if found is None:
        raise UnknownBatch
    return found


def may_change(caller: Caller, batch: Batch) -> bool:
    """Return whether the caller may change and delete a batch that it sees: its owner, staff, the site's own tokens."""
    if caller.token is not None and not caller.token.can_write:
        return False
    is_owner = caller.user is not None and not caller.user.is_anonymous and batch.owner_id == caller.user.pk
    return caller.has_every_right or is_owner


def get_changeable_batch(caller: Caller, batch_id: str) -> Batch:
    """Return a batch that the caller may change. Raises `UnknownBatch` and `NotAllowed`."""
    batch = get_visible_batch(caller, batch_id)
    if not may_change(caller, batch):
        raise NotAllowed("You may not change this batch.")
    return batch


def check_may_create(caller: Caller) -> None:
    """Raise `NotAllowed` unless the caller may make a batch: whoever may create datasets may."""
    if caller.token is not None and not caller.token.can_write:
        raise NotAllowed("This token may only read.")
    if caller.user is not None and (caller.user.is_anonymous or not caller.may_add_datasets()):
        raise MayNotAdd
