"""Read the BMPs that Pillow refuses: colours by any bit masks, such as 4-4-4-4 and 10-10-10, and palettes of 2 bits.

Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .refusals import TooLarge, Truncated

_INFO_HEADER: Final = 40
_MASKS_AT: Final = 14 + _INFO_HEADER
# The compressions BI_RGB, BI_BITFIELDS and BI_ALPHABITFIELDS.
_RGB: Final = 0
_BITFIELDS: Final = 3
_ALPHA_BITFIELDS: Final = 6
# From this size on the header has a mask of the opacity.
_V3_HEADER: Final = 56
_MOST_MASK_BITS: Final = 16
_ROWS_AT_ONCE: Final = 64


class Bmp(NamedTuple):
    """The header of a BMP. ``rows``: where they start, how many bytes each takes, and whether the first is the top."""

    size: tuple[int, int]
    bits: int
    masks: tuple[int, ...]
    colours: NDArray[np.uint8] | None
    rows: tuple[int, int, bool]


def read_header(data: bytes, max_pixels: int) -> Bmp | None:
    """Return the header of a BMP that `read_pixels` can read; None for any other. Raises `TooLarge`, `Truncated`."""
    if len(data) < _MASKS_AT:
        return None
    start, header = struct.unpack_from("<II", data, 10)
    width, height, _, bits, compression, _, _, _, used = struct.unpack_from("<iiHHIIiiI", data, 18)
    if header < _INFO_HEADER or width <= 0 or height == 0:
        return None
    masks, colours = (), None
    if bits in (16, 32) and compression in (_BITFIELDS, _ALPHA_BITFIELDS):
        has_opacity = header >= _V3_HEADER or compression == _ALPHA_BITFIELDS
        masks = struct.unpack("<4I", data[_MASKS_AT : _MASKS_AT + 16].ljust(16, b"\0"))[: 3 + has_opacity]
        if not all(masks[:3]) or not all(map(_is_run, masks)):
            return None
    elif bits == 2 and compression == _RGB:
        palette = data[14 + header : 14 + header + 4 * min(used or 4, 4)]
        colours = np.zeros((4, 4), np.uint8)
        colours.reshape(-1)[: len(palette)] = np.frombuffer(palette, np.uint8)
    else:
        return None
    if width * abs(height) > max_pixels:
        raise TooLarge.of(width, abs(height), max_pixels)
    stride = (width * bits + 31) // 32 * 4
    if start + stride * abs(height) > len(data):
        raise Truncated
    return Bmp((width, abs(height)), bits, masks, colours, (start, stride, height < 0))


def read_pixels(data: bytes, bmp: Bmp) -> Image.Image:
    """Return the picture as RGB, or as RGBA if some of it is not transparent."""
    width, height = bmp.size
    start, stride, is_top_down = bmp.rows
    rows = np.frombuffer(data, np.uint8, stride * height, start).reshape(height, stride)
    if not is_top_down:
        rows = rows[::-1]
    pixels = np.empty((height, width, len(bmp.masks) or 3), np.uint8)
    for top in range(0, height, _ROWS_AT_ONCE):
        some = np.ascontiguousarray(rows[top : top + _ROWS_AT_ONCE])
        if bmp.colours is not None:
            indices = np.stack([some >> shift & 3 for shift in (6, 4, 2, 0)], -1).reshape(len(some), -1)
            pixels[top : top + len(some)] = bmp.colours[indices[:, :width], 2::-1]
            continue
        values = some.view(f"<u{bmp.bits // 8}")[:, :width]
        for band, mask in enumerate(bmp.masks):
            pixels[top : top + len(some), :, band] = _band(values, mask)
    if len(bmp.masks) == 4 and not pixels[..., 3].any():
        # A file that is transparent everywhere was written by a program that does not know of opacity.
        return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    return Image.fromarray(pixels)


def _is_run(mask: int) -> bool:
    """Whether the bits of a mask follow each other."""
    run = mask >> _shift(mask)
    return run & (run + 1) == 0


def _shift(mask: int) -> int:
    return (mask & -mask).bit_length() - 1 if mask else 0


def _band(values: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """Return what a mask selects, scaled to 0 to 255; the highest bits of it where it has many."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = max(_shift(mask), mask.bit_length() - _MOST_MASK_BITS)
    largest = mask >> shift
    scale = ((np.arange(largest + 1, dtype=np.uint32) * 255 + largest // 2) // largest).astype(np.uint8)
    selected: NDArray[np.uint8] = scale[(values.astype(np.uint32) & mask) >> shift]
    return selected
