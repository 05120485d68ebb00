"""More than photographs: other formats, and values that 8 bits do not hold."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import tifffile
from numpy.typing import NDArray
from pillow_jxl import JpegXLImagePlugin

from apps.pipeline.images import decoding
from apps.pipeline.images.scanning import FoundFile
from apps.pipeline.images.verify import Indexed, Limits, Rejected, index_chunk

from .indexing import MAX_PIXELS, encoded, expected, index, indexed, pixels, rejected, scene
from .making import raw_png, rough, tiff

HEIF = {"AVIF": "AVIF", "HEIF": "HEIF"}


@pytest.mark.parametrize("format_", ["AVIF", "HEIF", "JPEG2000", "PPM", "ICO", "JXL"])
def test_a_format_is_taken_by_its_content(tmp_path: Path, format_: str) -> None:
    pillow_heif.register_heif_opener()
    assert JpegXLImagePlugin  # which registers itself
    size = (256, 192) if format_ == "ICO" else (400, 300)
    options = {"sizes": [size]} if format_ == "ICO" else {}
    content = encoded(scene(*size), format_, **options)
    result = indexed(tmp_path, content)
    assert (result.format, result.width, result.height) == (format_, *size)
    assert np.abs(pixels(tmp_path, content) - expected(scene(*size), (256, 192))).mean() < 5
    assert indexed(tmp_path, content) == result  # by its header alone


def test_a_tga_is_known_by_its_name(tmp_path: Path) -> None:
    for name, content in (("a.TGA", encoded(scene(), "TGA")), ("b.tga", b"words, words and words")):
        (tmp_path / name).write_bytes(content)
    files = [FoundFile(name, 0, 0) for name in ("a.TGA", "b.tga")]
    good, bad = index_chunk(str(tmp_path), files, str(tmp_path / "t"), Limits(MAX_PIXELS))
    assert isinstance(good, Indexed)
    assert (good.format, good.width) == ("TGA", 400)
    assert bad == Rejected("b.tga", "text, not an image")


def test_a_tga_is_known_by_its_end_whatever_its_name(tmp_path: Path) -> None:
    content = encoded(scene(), "TGA")
    assert content.startswith(b"\0\0\2\0")  # as a cursor does
    assert indexed(tmp_path, content).format == "TGA"
    cursor = struct.pack("<HHHBBBBHHII", 0, 2, 1, 32, 32, 0, 0, 4, 7, 40, 22) + bytes(40)
    assert rejected(tmp_path, cursor) == "a cursor (CUR): not supported here"
    assert rejected(tmp_path, content[:-1] + b"x") == "not an image"


@pytest.mark.parametrize("tags", [{254: 1, 330: 8}, {50706: b"\1\4\0\0"}])
def test_the_preview_in_a_raw_file_is_not_taken_for_the_picture(tmp_path: Path, tags: dict[int, Any]) -> None:
    raw = encoded(scene(), "TIFF", tiffinfo=tags)
    assert rejected(tmp_path, raw) == "a camera's raw file: not supported here"
    assert rejected(tmp_path, b"II*\0\x10\0\0\0CR\2\0" + raw[12:]) == "a camera's raw file: not supported here"


LFS = "a Git LFS pointer: the file itself was not downloaded"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"  <!DOCTYPE html>\n<title>404</title>", "an HTML page, not an image"),
        (b"<!-- saved -->\n<html><title>404</title>", "an HTML page, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12", LFS),
        (b'{"error": "not found"}', "JSON, not an image"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML, not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing: not supported here"),
        (bytes(5000), "nothing but zeros: it was probably not downloaded in full"),
        (b"\x1f\x8b\x08\0\0", "compressed with gzip, not an image"),
        (b"PK\x03\x04....", "a ZIP archive, not an image"),
        (b"8BPS\0\1", "a Photoshop file (PSD): not supported here"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video, not an image"),
        (b"\x93NUMPY\x01\0", "a NumPy array, not an image"),
        (b"\xef\xbb\xbf\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG behind 3 other bytes"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    assert rejected(tmp_path, content) == reason


def test_a_format_whose_plugin_is_not_installed_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(scene(), "JXL")
    monkeypatch.setitem(decoding._PLUGINS, "JXL", "no_such_plugin")
    decoding._has_plugin.cache_clear()
    assert rejected(tmp_path, content) == "JPEG XL: not supported here"
    decoding._has_plugin.cache_clear()


@pytest.mark.parametrize("boxed", [False, True])
def test_the_limit_holds_for_a_jpeg_xl_before_it_is_decoded(tmp_path: Path, boxed: bool) -> None:
    # SizeHeader: not small; 30 bits of height less one; ratio 1, which is a square.
    bits = (0b11 << 1) | ((60_000 - 1) << 3) | (1 << 33)
    content = b"\xff\x0a" + bits.to_bytes(10, "little")
    if boxed:
        signature = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
        content = signature + struct.pack(">I", 8 + len(content)) + b"jxlc" + content
    name = "a.jxl"
    (tmp_path / name).write_bytes(content)
    (result,) = index_chunk(str(tmp_path), [FoundFile(name, 0, 0)], str(tmp_path / "t"), Limits(MAX_PIXELS))
    reason = "too large: 60000 × 60000 pixels, the limit is 20,000,000 (MAX_IMAGE_PIXELS)"
    assert result == Rejected(name, reason)


def ramp(low: float, high: float, bands: int = 1, dtype: str = "f8") -> NDArray[Any]:
    """Values that rise from left to right, shape (96, 128, bands)."""
    row = np.linspace(low, high, 128)
    return np.broadcast_to(row[None, :, None], (96, 128, bands)).astype(dtype)


GREY = np.linspace(0, 255, 128)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("u4", 0, 4e9), ("i4", -5, 5e5), ("i2", -1500, 1500), ("i1", -120, 120), ("f2", 0, 1), ("f4", -1, 1),
        ("f8", 0, 1e-6), ("u2", 100, 900), ("c8", 0, 1),
    ],
)  # fmt: skip
def test_grey_of_any_kind_is_scaled_by_its_range_and_that_is_said(
    tmp_path: Path, dtype: str, low: float, high: float
) -> None:
    content = tiff(ramp(low, high, dtype=dtype)[..., 0])
    assert np.abs(pixels(tmp_path, content)[40, :, 0] - GREY).max() < 6
    assert "is black" in indexed(tmp_path, content).note
    assert indexed(tmp_path, content).format == "TIFF"


@pytest.mark.parametrize("bands", [3, 4, 5, 12])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
def test_of_many_bands_the_first_three_are_shown(tmp_path: Path, bands: int, dtype: str) -> None:
    high = 250 if dtype == "u1" else 2000
    values = ramp(0, high, bands, dtype).copy()
    values[..., 1] = values[..., 1] // 2 if dtype != "f8" else values[..., 1] / 2
    result = indexed(tmp_path, tiff(values))
    seen = pixels(tmp_path, tiff(values))[40]
    assert np.abs(seen[10:-10, 0] - GREY[10:-10]).max() < 12
    assert np.abs(seen[10:-10, 1] - GREY[10:-10] / 2).max() < 12
    if bands > 3:
        assert result.note.startswith(f"The first 3 are shown of {bands} bands.")


def test_planes_that_follow_each_other(tmp_path: Path) -> None:
    values = ramp(0, 3000, 3, "u2").copy()
    values[..., 2] = 0
    stream = io.BytesIO()
    tifffile.imwrite(stream, values.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib")
    for content in (stream.getvalue(), tiff(values, 2)):
        seen = pixels(tmp_path, content)[40]
        assert np.abs(seen[:, 0] - GREY).max() < 12
        assert seen[:, 2].max() < 12


@pytest.mark.parametrize("top", [4095, 65535])
def test_sixteen_bit_colours_are_neither_black_nor_stretched(tmp_path: Path, top: int) -> None:
    row = b"".join(struct.pack(">3H", top * x // 127, top * (127 - x) // 127, 0) for x in range(128))
    for content in (
        raw_png(128, 16, 2, [row] * 96),
        tiff(np.broadcast_to(np.frombuffer(row, ">u2").reshape(1, 128, 3), (96, 128, 3)).astype("u2"), 2),
    ):
        seen = pixels(tmp_path, content)[40]
        assert np.abs(seen[:, 0] - GREY).max() < 14
        assert np.abs(seen[:, 1] - GREY[::-1]).max() < 14
        assert bool(indexed(tmp_path, content).note) == (top < 65535)


def test_sixteen_bit_colours_with_opacity(tmp_path: Path) -> None:
    row = struct.pack(">4H", 4000, 0, 0, 65535) * 64 + struct.pack(">4H", 0, 65535, 0, 0) * 64
    seen = pixels(tmp_path, raw_png(128, 16, 6, [row] * 96))
    assert np.abs(seen[:, :56] - (255, 0, 0)).max() < 12
    assert np.abs(seen[:, 72:] - 128).max() < 6


def test_sixteen_bit_inks(tmp_path: Path) -> None:
    inks = np.zeros((96, 128, 4), "u2")
    inks[..., 0] = 65535
    assert np.abs(pixels(tmp_path, tiff(inks, 5)) - (0, 255, 255)).max() < 20


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_deep_tiffs_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    content = tiff(ramp(0, 1, 3, "f4"), 2, extra=[(274, orientation)])
    result = indexed(tmp_path, content)
    assert (result.width, result.height) == ((128, 96) if orientation == 1 else (96, 128))
    assert indexed(tmp_path, content) == result


def test_what_is_wrong_with_a_tiff(tmp_path: Path) -> None:
    values = ramp(0, 1, 5, "f4")
    assert rejected(tmp_path, tiff(values, compression=60000)) == ("TIFF with 60000 compression: not supported here")
    whole = tiff(values)
    broken = bytearray(whole)
    at = broken.index(struct.pack("<HHI", 279, 4, 1))
    broken[at + 8 : at + 12] = struct.pack("<I", len(whole) + 1)
    assert rejected(tmp_path, bytes(broken)) == "truncated"
    (result,) = index(tmp_path, whole, max_pixels=96 * 128 - 1)
    assert result == Rejected("0", "too large: 128 × 96 pixels, the limit is 12,287 (MAX_IMAGE_PIXELS)")
    (result,) = index(tmp_path, whole, max_pixels=96 * 128)
    assert isinstance(result, Rejected)
    assert "its values take 245,760 bytes" in result.reason
    assert rejected(tmp_path, tiff(ramp(0, 255, 3, "u1"), 2, compression=50001, data=b"no WebP")).startswith("damaged")


def test_a_decoder_s_number_is_put_into_words(tmp_path: Path) -> None:
    group4 = encoded(scene().convert("1"), "TIFF", compression="group4")
    middle = len(group4) // 2
    for cut in range(0, 60, 6):
        (result,) = index(tmp_path, group4[: middle + cut] + bytes(40) + group4[middle + cut + 40 :])
        if isinstance(result, Rejected):
            assert "-2" not in result.reason
    jp2 = encoded(scene(), "JPEG2000")
    assert rejected(tmp_path, jp2[:200] + b"\xff" * 100 + jp2[300:]) == "damaged: its compressed data cannot be decoded"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xd8\xff", "truncated"),
        (b"P6 20 20 255\n", "truncated"),
        (b"P6 20", "truncated"),
        (b"II*\0", "truncated"),
        (b"MM\0*\0\0\1\0....", "truncated"),
        (b"\xff", "not an image"),
        (b"\xff\xd8\xff\xd9", "damaged: its header cannot be read"),
        (b"P5 99999999999 9 255\n", "damaged: Token too long in file header: 99999999999"),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_read_is_told_in_words(tmp_path: Path, content: bytes, reason: str) -> None:
    assert rejected(tmp_path, content) == reason


def test_what_is_wrong_with_a_jpeg_xl_is_told_in_words(tmp_path: Path) -> None:
    content = encoded(rough(), "JXL")
    assert rejected(tmp_path, content[: len(content) // 2]) == "damaged: its compressed data cannot be decoded"


def test_libraries_print_with_the_name_of_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    group4 = encoded(scene().convert("1"), "TIFF", compression="group4")
    (tmp_path / "a\x1b[2J.tif").write_bytes(group4[:40] + bytes(60) + group4[100:])
    (tmp_path / "b.png").write_bytes(encoded(scene(), "PNG"))
    files = [FoundFile("a\x1b[2J.tif", 0, 0), FoundFile("b.png", 0, 0)]
    index_chunk(str(tmp_path), files, str(tmp_path / "t"), Limits(MAX_PIXELS))
    printed = capfd.readouterr().err.splitlines()
    assert printed
    assert all(line.startswith("a [2J.tif: ") for line in printed)
    assert len(printed) <= 4
