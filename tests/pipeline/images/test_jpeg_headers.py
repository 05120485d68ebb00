"""Headers of JPEGs: what is read here, and what is left to Pillow."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from apps.pipeline.images.jpeg import read_plain

from .indexing import encoded, scene


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "comment": b"words"}])
def test_plain_headers_say_what_pillow_says(mode: str, options: dict[str, object]) -> None:
    content = encoded(scene(123, 45).convert(mode), "JPEG", **options)
    plain = read_plain(content)
    assert plain is not None
    with Image.open(io.BytesIO(content)) as image:
        assert (plain.size, plain.mode) == (image.size, image.mode)


def test_what_changes_a_picture_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_plain(encoded(scene(), "JPEG", exif=exif)) is None
    assert read_plain(encoded(scene(), "JPEG", icc_profile=b"colours")) is None
    content = encoded(scene(), "JPEG")
    assert read_plain(content[:2] + b"\xff\xee\x00\x0eAdobe\0d\0\0\0\0\0" + content[2:]) is None


def test_inks_and_headers_that_are_cut_are_left_to_pillow() -> None:
    assert read_plain(encoded(scene().convert("CMYK"), "JPEG")) is None
    content = encoded(scene(), "JPEG")
    start_of_scan = content.index(b"\xff\xda")
    assert [read_plain(content[:end]) for end in range(start_of_scan)] == [None] * start_of_scan
