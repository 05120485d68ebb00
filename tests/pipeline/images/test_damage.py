"""Damaged pictures are found, and shown as far as they go; what is harmless says nothing against a picture."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from apps.pipeline.images.scanning import FoundFile
from apps.pipeline.images.verify import Indexed, Limits, Rejected, index_chunk

from .indexing import MAX_PIXELS, encoded, expected, index, indexed, pixels, rejected, scene
from .making import jpeg, png_chunk, rough, with_chunk, with_hole

END = b"\xff\xd9"
VARIETIES = [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": "4:4:4"}]
IDS = ["plain", "progressive", "restarts", "4:4:4"]


def damages(tmp_path: Path, contents: list[bytes]) -> list[str]:
    results = index(tmp_path, *contents)
    assert all(isinstance(result, Indexed) for result in results), results
    return [result.damage for result in results if isinstance(result, Indexed)]


@pytest.mark.parametrize("options", VARIETIES, ids=IDS)
def test_half_a_jpeg_with_an_end_is_damaged(tmp_path: Path, options: dict[str, object]) -> None:
    whole = [jpeg(seed, **options) for seed in range(8)]
    assert damages(tmp_path, whole) == [""] * 8
    halves = [content[: len(content) // 2] + END for content in whole]
    assert set(damages(tmp_path, halves)) == {"a part of the picture's data is missing or overwritten"}


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"subsampling": "4:4:4"}])
def test_a_hole_of_zeros_in_a_jpeg_is_damage(tmp_path: Path, options: dict[str, object]) -> None:
    holes = [with_hole(jpeg(seed, **options), 4096) for seed in range(8)]
    assert all(damages(tmp_path, holes))


@pytest.mark.parametrize("options", VARIETIES, ids=IDS)
@pytest.mark.parametrize("count", [512, 4096])
def test_what_overwrites_a_jpeg_is_damage(tmp_path: Path, options: dict[str, object], count: int) -> None:
    # Among random bytes are some that the decoder takes for markers.
    random = np.random.default_rng(0)
    holes = [with_hole(jpeg(seed, **options), count, random.bytes(count)) for seed in range(16)]
    for result in index(tmp_path, *holes):
        assert result.damage if isinstance(result, Indexed) else result.reason.startswith("damaged")


def test_what_overwrites_a_jpeg_is_damage_without_markers_in_it_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    holes = [with_hole(jpeg(seed), 1024, random.bytes(1024).replace(b"\xff", b"\xfe")) for seed in range(8)]
    assert all(damages(tmp_path, holes))


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_inks_and_grey_are_looked_at_as_well(tmp_path: Path, mode: str) -> None:
    content = encoded(rough().convert(mode), "JPEG", quality=90)
    whole, broken = damages(tmp_path, [content, content[: len(content) // 2] + END])
    assert (whole, broken) == ("", "a part of the picture's data is missing or overwritten")


def test_bytes_in_the_header_hide_no_damage(tmp_path: Path) -> None:
    content = jpeg()
    content = content[:20] + b"junk" * 100 + content[20:]
    assert damages(tmp_path, [content[: len(content) // 2] + END]) != [""]


def test_even_areas_are_no_holes(tmp_path: Path) -> None:
    for colour in ("white", "black", (128, 128, 128)):
        blank = Image.new("RGB", (2000, 2000), colour)
        blank.paste(rough(100, 100), (500, 500))
        for options in ({}, {"optimize": True}, {"subsampling": "4:4:4", "optimize": True}, {"progressive": True}):
            assert damages(tmp_path, [encoded(blank, "JPEG", **options)]) == [""]


def test_of_a_damaged_jpeg_the_part_before_is_shown(tmp_path: Path) -> None:
    content = jpeg()
    seen = pixels(tmp_path, content[: len(content) // 2] + END)
    wanted = expected(rough(), (320, 240))
    assert np.abs(seen - wanted)[:80].mean() < 6
    assert np.abs(seen - wanted)[120:].mean() > 20


@pytest.mark.parametrize(
    "harmless",
    [
        lambda content: content[:-2] + b"\0" * 20 + END,
        lambda content: content[:-2] + b"\0" * 5000 + END,
        lambda content: content[:-2] + b"padding " * 100 + END,
        lambda content: content + b"\0" * 4096,
        lambda content: content + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 50,  # a motion photo
        lambda content: content[:20] + b"junk" * 100 + content[20:],
    ],
    ids=["zeros", "many zeros", "words", "behind the end", "a film", "in the header"],
)
def test_bytes_that_are_no_part_of_the_picture_are_harmless(tmp_path: Path, harmless: object) -> None:
    assert callable(harmless)
    content = jpeg()
    result = indexed(tmp_path, harmless(content))
    assert (result.damage, result.width) == ("", 640)


def test_damage_is_remembered_with_the_thumbnail(tmp_path: Path) -> None:
    content = with_hole(jpeg(), 4096)
    first = indexed(tmp_path, content)
    assert first.damage
    assert indexed(tmp_path, content) == first  # by its header alone


@pytest.mark.parametrize("again", [False, True])
def test_damaged_pictures_are_failures_where_that_is_the_setting(tmp_path: Path, again: bool) -> None:
    content = with_hole(jpeg(), 4096)
    (tmp_path / "a.jpg").write_bytes(content)
    files = [FoundFile("a.jpg", 0, 0)]
    if again:
        index_chunk(str(tmp_path), files, str(tmp_path / "t"), Limits(MAX_PIXELS))
    limits = Limits(MAX_PIXELS, keep_damaged=False)
    reason = "damaged: a part of the picture's data is missing or overwritten (DAMAGED is fail)"
    assert index_chunk(str(tmp_path), files, str(tmp_path / "t"), limits) == [Rejected("a.jpg", reason)]


def test_a_png_whose_picture_has_a_wrong_checksum_is_damaged(tmp_path: Path) -> None:
    content = encoded(scene(), "PNG")
    at = content.index(b"IDAT")
    length = struct.unpack(">I", content[at - 4 : at])[0]
    broken = content[: at + 4 + length] + b"\0\0\0\0" + content[at + 8 + length :]
    result = indexed(tmp_path, broken)
    assert result.damage == "the checksum of its IDAT is wrong"
    assert np.abs(pixels(tmp_path, broken) - expected(scene(), (256, 192))).mean() < 4


def test_a_lot_of_text_says_nothing_against_a_picture(tmp_path: Path) -> None:
    for key in ("zTXt", "iTXt", "tEXt"):
        info = PngImagePlugin.PngInfo()
        text = "x" * (3 << 20)
        if key == "iTXt":
            info.add_itxt("XML:com.adobe.xmp", text, zip=True)
        else:
            info.add_text("workflow", text, zip=key == "zTXt")
        result = indexed(tmp_path, encoded(scene(), "PNG", pnginfo=info))
        assert (result.width, result.damage) == (400, "")


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"gAMA", struct.pack(">I", 45455), checksum=0),
        png_chunk(b"tEXt", b"a\0b", checksum=0),
        png_chunk(b"iCCP", b"x\0\x07" + zlib.compress(b"a" * 200)),
        png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3 << 20))),
        png_chunk(b"iCCP", b"x\0\0" + b"no stream"),
        png_chunk(b"iCCP", b"x"),
        png_chunk(b"zTXt", b"a\0\0" + b"no stream"),
        png_chunk(b"eXIf", b"II*\0" + b"\xff" * 100),
        png_chunk(b"acTL", struct.pack(">II", 2, 0)),
        png_chunk(b"acTL", struct.pack(">II", 0, 0)),
        png_chunk(b"cHRM", b"short"),
        png_chunk(b"pHYs", b""),
    ],
)
def test_odd_metadata_of_a_png_says_nothing_against_the_picture(tmp_path: Path, chunk: bytes) -> None:
    content = with_chunk(encoded(scene(), "PNG"), chunk)
    result = indexed(tmp_path, content)
    assert (result.format, result.width, result.damage) == ("PNG", 400, "")
    assert np.abs(pixels(tmp_path, content) - expected(scene(), (256, 192))).mean() < 4


def test_a_profile_that_is_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    body = b"x\0\0" + zlib.compress(bytes(1 << 28), 9)
    assert indexed(tmp_path, with_chunk(encoded(scene(), "PNG"), png_chunk(b"iCCP", body))).damage == ""


def test_a_picture_of_a_png_that_is_cut_is_truncated(tmp_path: Path) -> None:
    noise = Image.effect_noise((200, 150), 80)
    content = encoded(noise, "PNG")
    assert rejected(tmp_path, with_chunk(content, png_chunk(b"tEXt", b"a\0b"))[: len(content) // 2]) == "truncated"
