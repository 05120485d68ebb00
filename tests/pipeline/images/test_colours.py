"""Colours of thumbnails: profiles, transparency of grey, and icons."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from .indexing import encoded, expected, indexed, pixels, scene
from .making import png_chunk, raw_png


def profile(matrix: list[list[float]], gamma: float = 2.2) -> bytes:
    """Make an ICC profile (ICC.1:2001) of primaries, columns of ``matrix`` in XYZ for D50, and a gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78) + b"\0"
    tags = {
        b"desc": description, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        **{name: xyz(tuple(row[column] for row in matrix)) for column, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    body, table = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + b"".join(map(fixed, (0.9642, 1, 0.8249)))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


# Display P3 and ProPhoto RGB (ROMM, ISO 22028-2), adapted to D50.
DISPLAY_P3 = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
PROPHOTO = [[0.79767, 0.13519, 0.03135], [0.28804, 0.71188, 0.00009], [0.0, 0.0, 0.82510]]


def in_space(rgb: tuple[int, int, int], icc: bytes) -> tuple[int, ...]:
    """Return a colour of sRGB in the space of a profile."""
    to_space = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(icc)), "RGB", "RGB"
    )
    changed = to_space.apply(Image.new("RGB", (1, 1), rgb)).getpixel((0, 0))
    assert isinstance(changed, tuple)
    return tuple(int(value) for value in changed)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(("matrix", "gamma"), [(DISPLAY_P3, 2.2), (PROPHOTO, 1.8)], ids=["P3", "ProPhoto"])
def test_colours_are_converted_to_srgb(tmp_path: Path, format_: str, matrix: list[list[float]], gamma: float) -> None:
    wanted, icc = (210, 90, 40), profile(matrix, gamma)
    stored = in_space(wanted, icc)
    assert np.abs(np.array(stored) - wanted).max() > 10  # or the test says nothing
    options: dict[str, object] = {"icc_profile": icc} | ({"lossless": True} if format_ == "WEBP" else {})
    options |= {"quality": 95} if format_ in ("JPEG", "AVIF") else {}
    seen = pixels(tmp_path, encoded(Image.new("RGB", (300, 200), stored), format_, **options))
    assert np.abs(seen - wanted).max() <= 6


def test_transparent_colours_and_palettes_are_converted_as_well(tmp_path: Path) -> None:
    wanted, icc = (210, 90, 40), profile(DISPLAY_P3)
    stored = in_space(wanted, icc)
    layer = Image.new("RGBA", (64, 64), (*stored, 255))
    layer.paste((0, 0, 0, 0), (0, 0, 32, 64))
    seen = pixels(tmp_path, encoded(layer, "PNG", icc_profile=icc))
    assert np.abs(seen[:, :24] - 128).max() <= 6
    assert np.abs(seen[:, 40:] - wanted).max() <= 6
    palette = Image.new("RGB", (64, 64), stored).quantize(4)
    assert np.abs(pixels(tmp_path, encoded(palette, "PNG", icc_profile=icc)) - wanted).max() <= 6


@pytest.mark.parametrize("icc", [b"nonsense", b"", profile(DISPLAY_P3)[:200]], ids=["nonsense", "empty", "cut"])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF"])
def test_a_profile_that_cannot_be_used_is_left_out(tmp_path: Path, format_: str, icc: bytes) -> None:
    seen = pixels(tmp_path, encoded(scene(), format_, icc_profile=icc))
    assert np.abs(seen - expected(scene(), (256, 192))).mean() < 4


def test_a_profile_of_srgb_changes_nothing(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_profile = pixels(tmp_path, encoded(scene(), "PNG", icc_profile=icc))
    assert np.array_equal(with_profile, pixels(tmp_path, encoded(scene(), "PNG")))


def test_a_profile_of_another_kind_of_colours_is_left_out(tmp_path: Path) -> None:
    content = encoded(scene().convert("L"), "PNG", icc_profile=profile(PROPHOTO))
    assert np.abs(pixels(tmp_path, content) - expected(scene().convert("L"), (256, 192))).mean() < 4


def test_icons_keep_their_colours(tmp_path: Path) -> None:
    icon = np.full((32, 32, 3), 128, np.uint8)
    icon[8:24, 8:24] = (255, 0, 0)
    icon[12:20, 12:20] = (0, 0, 255)
    seen = pixels(tmp_path, encoded(Image.fromarray(icon), "PNG"))
    # Half the resolution of colours costs 10 and more.
    assert np.abs(seen - icon).mean() < 4
    assert indexed(tmp_path, encoded(scene(400, 300), "JPEG")).thumbnail_width == 256


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_value_of_shallow_grey(tmp_path: Path, depth: int) -> None:
    largest = 2**depth - 1
    white, dark = b"\xff" * (2 * depth), b"\0" * (2 * depth)
    key = png_chunk(b"tRNS", struct.pack(">H", largest))
    seen = pixels(tmp_path, raw_png(32, depth, 0, [white + dark] * 32, key))
    assert np.abs(seen[:, :14] - 128).max() <= 3
    assert seen[:, 18:].max() <= 3


def test_a_transparent_value_of_deep_grey(tmp_path: Path) -> None:
    key = png_chunk(b"tRNS", struct.pack(">H", 65535))
    ramp = b"".join(struct.pack(">H", value) for value in range(0, 16 * 256, 256))
    seen = pixels(tmp_path, raw_png(32, 16, 0, [b"\xff\xff" * 16 + ramp] * 32, key))
    assert np.abs(seen[:, :14] - 128).max() <= 4
    assert seen[:, 18].max() < 50
    assert seen[:, 31].min() > 240
