"""Where the files of a sample are: its thumbnail, which this program wrote, and its original, which it only reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

from apps.datasets.models import Dataset, Sample
from apps.pipeline.models import Source

from .scanning import real_path_inside
from .thumbnails import thumbnail_path


def thumbnails_of(dataset_pk: int) -> Path:
    """The folder of a dataset's thumbnails."""
    return Path(settings.MEDIA_ROOT) / "thumbnails" / str(dataset_pk)


def thumbnail_file(sample: Sample) -> Path:
    """The thumbnail of ``sample``. Raises `FileNotFoundError` where it is gone."""
    path = Path(thumbnail_path(str(thumbnails_of(sample.dataset_id)), sample.sha256))
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def original_file(sample: Sample) -> Path:
    """The file that ``sample`` was read from, if it is still inside the dataset's folder.

    Raises `FileNotFoundError` where it or its dataset's folder is gone, `scanning.OutsideRoot` where a link that came
    later, for the file or for the folder itself, leads out of the folder.
    """
    source = Source.objects.filter(dataset_id=sample.dataset_id).first()
    if source is None:
        raise FileNotFoundError(sample.path)
    path = Path(real_path_inside(source.folder, sample.path))
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def has_thumbnail(thumbnails: Path, sha256: str) -> bool:
    return Path(thumbnail_path(str(thumbnails), sha256)).is_file()


def drop_thumbnails(dataset_pk: int, hashes: set[str]) -> None:
    """Delete the thumbnails of these contents, apart from those that a sample of the dataset still has."""
    kept = Sample.objects.filter(dataset=dataset_pk, sha256__in=hashes).values_list("sha256", flat=True)
    for sha256 in hashes - set(kept):
        Path(thumbnail_path(str(thumbnails_of(dataset_pk)), sha256)).unlink(missing_ok=True)


def drop_orphans() -> None:
    """Delete the thumbnails of datasets that are gone: what processes wrote while theirs was being deleted."""
    there = {str(pk) for pk in Dataset.objects.values_list("pk", flat=True)}
    root = Path(settings.MEDIA_ROOT, "thumbnails")
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name not in there:
            shutil.rmtree(folder, ignore_errors=True)
