"""How large a thumbnail is, and how images are scaled down. Nothing of Django is imported."""

from __future__ import annotations

from typing import Final

from PIL import Image

THUMBNAIL_SIDE: Final = 256
"""The longer side of a thumbnail in pixels, unless the image is smaller, or a cheap size is close."""

# The shares of an image that are cheap: JPEGs are decoded at so many eighths, and halves of an eighth are means of four
# pixels. With a longer side in this range, one of them is taken.
_CHEAP_SIXTEENTHS: Final = (8, 6, 4, 2, 1)
_CHEAP_SIDES: Final = range(240, 321)

BACKDROP: Final = (128, 128, 128)
"""The colour behind transparent pixels. On mid-grey, white and black drawings both stay visible, and an embedder can
tell them apart. On white, a white drawing would disappear."""

# As sharp as bicubic when scaling down, at half the cost (Pillow's handbook, "Filters").
_FILTER: Final = Image.Resampling.HAMMING


def thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the thumbnail of an image of ``size``, in pixels; never larger, never below 1."""
    width, height = size
    longer = max(size)
    if longer <= THUMBNAIL_SIDE:
        return size
    for count in _CHEAP_SIXTEENTHS:
        if _sixteenths(longer, count) in _CHEAP_SIDES:
            return _sixteenths(width, count), _sixteenths(height, count)
    return max(1, round(width * THUMBNAIL_SIDE / longer)), max(1, round(height * THUMBNAIL_SIDE / longer))


def scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return ``image`` scaled to ``size``; itself if it has that size."""
    if image.size == size:
        return image
    if size == (-(-image.width // 2), -(-image.height // 2)):
        return image.reduce(2)
    return image.resize(size, _FILTER, reducing_gap=2.0)


def _sixteenths(length: int, count: int) -> int:
    return -(-length * count // 16)  # rounded up, as libjpeg does
