"""BMPs of every depth and order of bits."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from .indexing import expected, indexed, pixels, rejected, scene

INFO_HEADER = 40
V4_HEADER = 108
BITFIELDS = 3


def bmp(size: tuple[int, int], bits: int, rows: bytes, *, compression: int = 0, masks: tuple[int, ...] = (),
        palette: bytes = b"", in_header: bool = False) -> bytes:  # fmt: skip
    """Make a BMP of rows from the bottom up. ``in_header``: its masks are a part of a header of version 4."""
    header = V4_HEADER if in_header else INFO_HEADER
    info = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, len(rows), 0, 0, len(palette) // 4, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    info = info.ljust(header, b"\0") + palette
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + rows


def packed(image: Image.Image, masks: tuple[int, ...], type_: str) -> bytes:
    """Return the rows of an image from the bottom up, whose channels are scaled to what each mask selects."""
    values = np.zeros((image.height, image.width), np.uint64)
    for band, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        channel = np.asarray(image)[..., band].astype(np.uint64) if band < 3 else np.full(values.shape, 255, np.uint64)
        values |= (channel * np.uint64(mask >> shift) // np.uint64(255)) << np.uint64(shift)
    return values[::-1].astype(type_).tobytes()


@pytest.mark.parametrize(
    ("masks", "bits"),
    [
        ((0xF00, 0xF0, 0xF), 16),
        ((0xF00, 0xF0, 0xF, 0xF000), 16),
        ((0x7C00, 0x3E0, 0x1F), 16),
        ((0xF800, 0x7E0, 0x1F), 16),
        ((0x3FF00000, 0xFFC00, 0x3FF), 32),
        ((0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), 32),
        ((0xFF000000, 0xFF00, 0xFF0000), 32),
        ((0xFF0000, 0xFF00, 0xFF), 32),
    ],
)
def test_colours_by_masks(tmp_path: Path, masks: tuple[int, ...], bits: int) -> None:
    rows = packed(scene(), masks, f"<u{bits // 8}")
    content = bmp((400, 300), bits, rows, compression=BITFIELDS, masks=masks, in_header=len(masks) == 4)
    assert indexed(tmp_path, content).format == "BMP"
    assert np.abs(pixels(tmp_path, content) - expected(scene(), (256, 192))).mean() < 10


def two_bits(indices: NDArray[np.uint8]) -> bytes:
    four = indices[::-1].reshape(len(indices), -1, 4)
    return ((four[..., 0] << 6) | (four[..., 1] << 4) | (four[..., 2] << 2) | four[..., 3]).tobytes()


def test_a_palette_of_four_colours(tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40)]
    indices = np.zeros((128, 128), np.uint8)
    indices[:64, 64:], indices[64:, :64], indices[64:, 64:] = 1, 2, 3
    palette = b"".join(bytes((*colour[::-1], 0)) for colour in colours)
    content = bmp((128, 128), 2, two_bits(indices), palette=palette)
    seen = pixels(tmp_path, content)
    for colour, (y, x) in zip(colours, ((32, 32), (32, 96), (96, 32), (96, 96)), strict=True):
        assert np.abs(seen[y, x] - colour).max() <= 6


def test_rows_from_the_top_down(tmp_path: Path) -> None:
    masks = (0xF00, 0xF0, 0xF)
    upside_down = scene().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    content = bmp((400, -300), 16, packed(upside_down, masks, "<u2"), compression=BITFIELDS, masks=masks)
    assert np.abs(pixels(tmp_path, content) - expected(scene(), (256, 192))).mean() < 10


def test_opacity_is_shown_over_grey(tmp_path: Path) -> None:
    masks = (0xF00, 0xF0, 0xF, 0xF000)
    values = np.full((64, 64), 0x0F00, "<u2")
    values[:, 32:] |= 0xF000
    seen = pixels(tmp_path, bmp((64, 64), 16, values.tobytes(), compression=BITFIELDS, masks=masks, in_header=True))
    assert np.abs(seen[:, :24] - 128).max() <= 6
    assert np.abs(seen[:, 40:] - (255, 0, 0)).max() <= 6
    all_clear = np.full((64, 64), 0x0F00, "<u2").tobytes()
    seen = pixels(tmp_path, bmp((64, 64), 16, all_clear, compression=BITFIELDS, masks=masks, in_header=True))
    assert np.abs(seen - (255, 0, 0)).max() <= 6


def test_what_is_wrong_with_a_bmp(tmp_path: Path) -> None:
    masks = (0xF00, 0xF0, 0xF)
    rows = packed(scene(), masks, "<u2")
    assert rejected(tmp_path, bmp((400, 300), 16, rows[:-1], compression=BITFIELDS, masks=masks)) == "truncated"
    large = bmp((9000, 9000), 16, b"", compression=BITFIELDS, masks=masks)
    assert rejected(tmp_path, large).startswith("too large: 9000 × 9000 pixels")
    with_gaps = bmp((400, 300), 16, rows, compression=BITFIELDS, masks=(0xF0F0, 0xF00, 0xF))
    assert rejected(tmp_path, with_gaps).startswith("a variety of BMP that is not supported here")
