"""Where the files of samples are: thumbnails, which the pipeline writes, and originals, which it only reads."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from apps.core.beneath import Folder
from apps.datasets.models import Sample
from apps.pipeline.models import Source

from .folders import reach_of
from .thumbnails import thumbnail_path


def thumbnail_root() -> Path:
    """The folder with a subfolder of thumbnails for each dataset."""
    return Path(settings.MEDIA_ROOT, "thumbnails")


def thumbnail_folder(dataset_pk: int) -> Path:
    """The folder of a dataset's thumbnails."""
    return thumbnail_root() / str(dataset_pk)


def has_thumbnail(folder: Path, sha256: str) -> bool:
    """Whether the thumbnail of the content with that hash is in ``folder``, a `thumbnail_folder`."""
    return Path(thumbnail_path(str(folder), sha256)).is_file()


def thumbnail_file(sample: Sample) -> Path:
    """Where the thumbnail of ``sample`` is, if it has not been deleted."""
    return Path(thumbnail_path(str(thumbnail_folder(sample.dataset_id)), sample.sha256))


def open_thumbnail(sample: Sample) -> BinaryIO:
    """Open the thumbnail of ``sample``. Raises `OSError` if it is gone."""
    root = thumbnail_root()
    # The media folder may be a link that the administrator has made, but nothing below it is.
    with Folder(str(root.resolve())) as folder:
        return folder.open_file(str(thumbnail_file(sample).relative_to(root)))


def open_original(sample: Sample) -> BinaryIO:
    """Open the file that ``sample`` was read from.

    Raises `OSError` if it is gone or cannot be read, and `OutsideFolder` if a link leads out of the dataset's folder.
    """
    source = Source.objects.filter(dataset_id=sample.dataset_id).first()
    if source is None:
        raise FileNotFoundError(sample.path)
    with Folder(source.folder, reach_of(source)) as folder:
        return folder.open_file(sample.path)
