"""Where the files of samples are, and which are never served."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from apps.datasets.models import Sample
from apps.pipeline.images.media import original_file, thumbnail_file
from tests.images import make_images
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)


def test_link_out_of_the_folder_is_never_served(folder: Path, tmp_path: Path) -> None:
    [image] = make_images(folder, 1)
    process(folder)
    [secret] = make_images(tmp_path / "outside", 1)
    image.unlink()
    image.symlink_to(secret)
    with pytest.raises(ValueError, match=r"000000\.jpg"):
        original_file(Sample.objects.get())


def test_thumbnails_are_in_the_data_folder(folder: Path) -> None:
    make_images(folder, 1)
    process(folder)
    assert thumbnail_file(Sample.objects.get()).is_relative_to(settings.DATA_DIR)
