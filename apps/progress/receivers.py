"""What goes when a dataset is deleted."""

from __future__ import annotations

from apps.datasets.models import Dataset

from .models import ItemFailure, Share


def on_delete(sender: type[Dataset], instance: Dataset, **kwargs: object) -> None:
    """The receiver of ``pre_delete`` of a dataset: each table in one statement, where a cascade gathers the rows."""
    ItemFailure.objects.filter(run__dataset=instance).delete()
    Share.objects.filter(stage__run__dataset=instance).delete()
