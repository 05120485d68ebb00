"""Values of more than 8 bits, of any range and in any number of bands, become a thumbnail.

Sensors store 10, 12 or 14 bits in 16, and scientific images have any range. Clipping to 8 bits would turn nearly all of
them white, and assuming the full range would turn many of them black. Nothing of Django is imported: pool processes run
this.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .scaling import BACKDROP, scaled

# 16-bit colours are shown as they are if their brightest value is at least this. Else at most 6 bits of 16 are used.
_USES_ITS_RANGE: Final = 1 << 14


def small_of_values(
    values: NDArray[Any], size: tuple[int, int], *, has_alpha: bool = False, is_colour: bool = False
) -> tuple[Image.Image, str]:
    """Scale an array of shape (height, width, bands) down to ``size``, as RGB.

    Of more than three bands the first three are shown as red, green and blue, of two the first. ``has_alpha``: the last
    band is no band but opacity. ``is_colour``: 0 is black and the largest value of the type is white, so values are
    only stretched if they use little of their range. Otherwise, and where bits are not 8, the smallest value becomes
    black and the largest white. NaN and infinity become the smallest.

    Returns the image and, as a sentence, what was done to the values; empty if nothing was.
    """
    bands = values.shape[2] - has_alpha
    shown = 3 if bands >= 3 else 1
    notes = []
    if bands not in (1, 3):
        notes.append(f"The first {'is shown' if shown == 1 else '3 are shown'} of {bands} bands.")
    if np.iscomplexobj(values):
        values = np.abs(values)
        notes.append("Absolute values are shown.")
    opacity = _opacity(values[..., -1], size) if has_alpha else None
    planes = [_plane(values[..., band], size, values[..., -1] if has_alpha else None, opacity) for band in range(shown)]
    small = np.stack(planes, -1)
    if values.dtype == np.uint8:
        grey = small
    else:
        seen = small if opacity is None else small[opacity > 0]
        low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
        grey, note = _stretched(small, low, high, values.dtype, is_colour=is_colour)
        notes.append(note)
    if opacity is not None:
        grey = grey * opacity[..., None] + np.float32(BACKDROP[0]) * (1 - opacity[..., None])
    pixels = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(pixels, 3, -1) if shown == 1 else pixels), " ".join(filter(None, notes))


def _stretched(
    small: NDArray[np.float32], low: float, high: float, type_: np.dtype[Any], *, is_colour: bool
) -> tuple[NDArray[np.float32], str]:
    """Return values from ``low`` to ``high`` as 0 to 255, and what to say of it."""
    is_16_bit = type_ == np.uint16
    if is_16_bit and (high == low or (is_colour and high >= _USES_ITS_RANGE)):
        return small / np.float32(257), ""
    if high == low:
        return small, ""
    # In double precision: the range of floats may be larger than a float.
    stretched = (small.astype(np.float64) - low) * (255.0 / (high - low))
    return stretched.astype(np.float32), f"Brightness is scaled: {_figure(low)} is black, {_figure(high)} is white."


def _figure(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _plane(
    band: NDArray[Any], size: tuple[int, int], alpha: NDArray[Any] | None, opacity: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Scale one band down. Where it is transparent, it does not count."""
    plane = _finite(band)
    if alpha is None or opacity is None:
        return _scaled(plane, size)
    weighted = _scaled(plane * _share(alpha), size)
    return np.divide(weighted, opacity, out=np.zeros_like(weighted), where=opacity > 0)


def _opacity(alpha: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.clip(_scaled(_share(alpha), size), 0, 1)


def _share(alpha: NDArray[Any]) -> NDArray[np.float32]:
    """Return opacity as 0 to 1."""
    largest = np.iinfo(alpha.dtype).max if np.issubdtype(alpha.dtype, np.integer) else 1
    return alpha.astype(np.float32) / np.float32(largest)


def _finite(band: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        plane = np.ascontiguousarray(band, dtype=np.float32)
    finite = np.isfinite(plane)
    if finite.all():
        return plane
    return np.where(finite, plane, plane[finite].min() if finite.any() else np.float32(0))


def _scaled(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(scaled(Image.fromarray(plane), size), dtype=np.float32)
