"""What goes when a dataset is deleted: its chunks at once, its thumbnails once that is committed."""

from __future__ import annotations

import shutil
from functools import partial

from django.db import transaction

from apps.datasets.models import Dataset
from apps.pipeline.images.media import thumbnails_of

from .models import Chunk


def on_delete(sender: type[Dataset], instance: Dataset, **kwargs: object) -> None:
    """The receiver of ``pre_delete`` of a dataset."""
    # One statement, where a cascade would gather the rows first.
    Chunk.objects.filter(job__run__dataset=instance).delete()
    transaction.on_commit(partial(shutil.rmtree, thumbnails_of(instance.pk), ignore_errors=True))
