"""Where the files of samples are, and which are never served."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from apps.core.beneath import OutsideFolder
from apps.datasets.models import Sample
from apps.pipeline.images.media import open_original, open_thumbnail, thumbnail_file
from tests.images import make_images
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)


def test_link_out_of_the_folder_is_never_served(folder: Path, tmp_path: Path) -> None:
    [image] = make_images(folder, 1)
    process(folder)
    [secret] = make_images(tmp_path / "outside", 1)
    image.unlink()
    image.symlink_to(secret)
    with pytest.raises(OutsideFolder):
        open_original(Sample.objects.get())


def test_thumbnails_are_in_the_data_folder(folder: Path) -> None:
    make_images(folder, 1)
    process(folder)
    assert thumbnail_file(Sample.objects.get()).is_relative_to(settings.DATA_DIR)


def test_thumbnail_that_is_a_link_out_of_the_data_folder_is_never_served(folder: Path, tmp_path: Path) -> None:
    make_images(folder, 1)
    process(folder)
    sample = Sample.objects.get()
    with open_thumbnail(sample) as file:
        assert file.read() == thumbnail_file(sample).read_bytes()
    [secret] = make_images(tmp_path / "outside", 1)
    thumbnail_file(sample).unlink()
    thumbnail_file(sample).symlink_to(secret)
    with pytest.raises(OutsideFolder):
        open_thumbnail(sample)
