"""Receivers of the signals of a dataset that is created or deleted."""

from __future__ import annotations

from apps.datasets.models import Dataset

from . import store


def on_delete(sender: type[Dataset], instance: Dataset, **kwargs: object) -> None:
    """Receive ``pre_delete`` of a dataset."""
    store.keep_last_version(instance)


def on_save(sender: type[Dataset], instance: Dataset, created: bool, raw: bool, **kwargs: object) -> None:
    """Receive ``post_save`` of a dataset. Fixtures (``raw``) bring their own heads."""
    if created and not raw:
        store.continue_versions(instance)
