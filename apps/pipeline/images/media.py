"""Where the files of samples are: thumbnails, which the pipeline writes, and originals, which it only reads."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from apps.datasets.models import Sample
from apps.pipeline.models import Source

from .scanning import real_path_inside
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
    """The thumbnail of ``sample``. Raises `FileNotFoundError` if it is gone."""
    path = Path(thumbnail_path(str(thumbnail_folder(sample.dataset_id)), sample.sha256))
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def original_file(sample: Sample) -> Path:
    """The file that ``sample`` was read from, if it is still inside the dataset's folder.

    Raises `FileNotFoundError` if the file or its folder is gone, and `scanning.OutsideRoot` if the file or the folder
    has become a link that leads outside.
    """
    source = Source.objects.filter(dataset_id=sample.dataset_id).first()
    if source is None:
        raise FileNotFoundError(sample.path)
    path = Path(real_path_inside(source.folder, sample.path))
    if not path.is_file():
        raise FileNotFoundError(path)
    return path
