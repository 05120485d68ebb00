"""A folder whose subfolders are datasets: each is processed, as a batch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from django.core.exceptions import ValidationError
from django.db import transaction

from apps.batches.models import Batch
from apps.batches.services import gather
from apps.datasets.models import Dataset
from apps.datasets.services import create_dataset
from apps.pipeline.images.folders import FolderRefused, readable_folder
from apps.progress.errors import RunUnfinished

from .services import OtherFolder, check_folder, process_folder

ID_LENGTH: Final = 128


@dataclass(slots=True)
class Processed:
    """What became of the subfolders: the batch, the datasets that were queued, and why others were not."""

    batch: Batch
    queued: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def dataset_id_of(name: str) -> str:
    """Return the id of the dataset that a folder of this name is; empty where it has no letter and no digit."""
    return re.sub(r"[^A-Za-z0-9._-]+", ".", name).lstrip("._-").rstrip(".")[:ID_LENGTH]


def process_each(folder: Path, *, batch_id: str, limit: int | None = None) -> Processed:
    """Queue a run over each subfolder of ``folder``, a real path, as a dataset of the batch. Hidden ones are left out.

    ``limit``: how many are processed at once; None leaves what the batch has. Raises `ValidationError` for a malformed
    batch id, and `FolderRefused` where the folder cannot be read or two subfolders would be the same dataset.
    """
    try:
        names = sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        raise FolderRefused(f"{folder} cannot be read: {error.strerror}.") from None
    folders: dict[str, str] = {}
    for name in names:
        if (dataset_id := dataset_id_of(name)) in folders:
            raise FolderRefused(f"{folders[dataset_id]} and {name} would both be the dataset {dataset_id}.")
        if dataset_id:
            folders[dataset_id] = name
    processed = Processed(gather(batch_id, [], limit=limit))
    for dataset_id, name in folders.items():
        try:
            path = readable_folder(folder / name)
            with transaction.atomic():
                check_folder(dataset_id, path)
                dataset = Dataset.objects.filter(dataset_id=dataset_id).first() or create_dataset(dataset_id)
                gather(batch_id, [dataset.pk])  # before the run is queued, so that the limit holds for it
                process_folder(path, dataset_id=dataset_id)
        except RunUnfinished:
            processed.refused[dataset_id] = "It is already being processed."
        except (FolderRefused, OtherFolder) as refusal:
            processed.refused[dataset_id] = str(refusal)
        except ValidationError as refusal:
            processed.refused[dataset_id] = " ".join(refusal.messages)
        else:
            processed.queued.append(dataset_id)
    return processed
