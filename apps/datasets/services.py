"""Makes and deletes datasets. What else belongs to one is told by Django's signals, and goes along."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction

from .models import Dataset, EmbeddingBlock, Sample


def make_dataset(
    dataset_id: str, *, owner: AbstractBaseUser | AnonymousUser | None = None, name: str = "", visibility: str = ""
) -> Dataset:
    """A new dataset; ``visibility`` empty: as ``DATASETS_PUBLIC`` says. Raises `ValidationError` for an id that is
    malformed or taken.
    """
    dataset = Dataset(
        dataset_id=dataset_id,
        name=name,
        visibility=visibility or Dataset.Visibility.of_new(),
        owner_id=owner.pk if owner else None,
    )
    dataset.full_clean()
    dataset.save()
    return dataset


def delete_dataset(dataset: Dataset) -> None:
    """Delete a dataset with all that belongs to it; the folder of its images stays as it is.

    A worker or a reporter that is busy with it is told so at its next report.
    """
    with transaction.atomic():
        # In this order each table goes in one statement, however long; a cascade would gather the rows first.
        Sample.objects.filter(dataset=dataset).delete()
        EmbeddingBlock.objects.filter(dataset=dataset).delete()
        dataset.delete()
