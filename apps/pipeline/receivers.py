"""Delete the thumbnails of a dataset when the dataset is deleted."""

from __future__ import annotations

import shutil
from functools import partial

from django.db import transaction

from apps.datasets.models import Dataset
from apps.pipeline.images.media import thumbnail_folder


def on_delete(sender: type[Dataset], instance: Dataset, **kwargs: object) -> None:
    """Receiver of ``pre_delete``: delete the thumbnails once the deletion is committed."""
    transaction.on_commit(partial(shutil.rmtree, thumbnail_folder(instance.pk), ignore_errors=True))
