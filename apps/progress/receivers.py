"""What goes when a dataset is deleted, and what of it is kept for one that is made again under its id."""

from __future__ import annotations

from django.utils import timezone

from apps.datasets.models import Dataset

from .models import DeletedDataset, Head, ItemFailure, WorkerShare


def on_delete(sender: type[Dataset], instance: Dataset, **kwargs: object) -> None:
    """The receiver of ``pre_delete`` of a dataset: each table in one statement, where a cascade gathers the rows."""
    if (head := Head.objects.filter(dataset=instance).first()) is not None:
        last = {"version": head.version, "at": timezone.now()}
        DeletedDataset.objects.update_or_create(dataset_id=instance.dataset_id, defaults=last)
    ItemFailure.objects.filter(run__dataset=instance).delete()
    WorkerShare.objects.filter(stage__run__dataset=instance).delete()


def on_save(sender: type[Dataset], instance: Dataset, created: bool, raw: bool, **kwargs: object) -> None:
    """The receiver of ``post_save`` of a dataset: versions go on from those of a former one."""
    if (
        created
        and not raw
        and (last := DeletedDataset.objects.filter(dataset_id=instance.dataset_id).first()) is not None
    ):
        Head.objects.create(dataset=instance, version=last.version + 1)
