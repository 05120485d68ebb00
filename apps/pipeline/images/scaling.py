"""How large a thumbnail is, and how images are scaled down. Nothing of Django is imported."""

from __future__ import annotations

from typing import Final

from PIL import Image

THUMBNAIL_SIDE: Final = 256
LARGEST_THUMBNAIL_SIDE: Final = 320
"""The longer side of a thumbnail in pixels is between these, unless the image is smaller."""

# Decoders of JPEGs scale to these for nothing. Larger ones cost more than the whole picture.
_EIGHTHS: Final = (1, 2, 3, 4)

BACKDROP: Final = (128, 128, 128)
"""The colour behind transparent pixels. On mid-grey, white and black drawings both stay visible, and an embedder can
tell them apart. On white, a white drawing would disappear."""

# As sharp as bicubic when scaling down, at half the cost (Pillow's handbook, "Filters").
_FILTER: Final = Image.Resampling.HAMMING


def thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the thumbnail of an image of ``size``, in pixels; never larger, never below 1.

    It is a number of eighths, as JPEGs are decoded, if the longer side is then large enough and not too large.
    Otherwise the longer side is `THUMBNAIL_SIDE`.
    """
    width, height = size
    longer = max(size)
    if longer <= THUMBNAIL_SIDE:
        return size
    for eighths in _EIGHTHS:
        if THUMBNAIL_SIDE <= _eighths(longer, eighths) <= LARGEST_THUMBNAIL_SIDE:
            return _eighths(width, eighths), _eighths(height, eighths)
    return max(1, round(width * THUMBNAIL_SIDE / longer)), max(1, round(height * THUMBNAIL_SIDE / longer))


def _eighths(length: int, count: int) -> int:
    return -(-length * count // 8)  # rounded up, as libjpeg does


def scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return ``image`` scaled to ``size``; itself if it has that size."""
    return image if image.size == size else image.resize(size, _FILTER, reducing_gap=2.0)
