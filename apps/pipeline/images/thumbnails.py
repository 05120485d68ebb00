"""Thumbnails: where they are, how big, and how pixels of any kind become one.

A thumbnail is an RGB JPEG in a file that is named after the SHA-256 of the original's content. Django is not imported:
pool processes run this.
"""

import io
import secrets
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 256
"""The longer side of a thumbnail in pixels, unless the image is smaller."""

BACKDROP = (128, 128, 128)
"""The colour behind transparent pixels. On mid-grey, white and black drawings both stay visible, and an embedder can
tell them apart. On white, a white drawing would disappear."""

# As sharp as bicubic when scaling down, at half the cost (Pillow's handbook, "Filters").
_FILTER = Image.Resampling.HAMMING

_JPEG_END = b"\xff\xd9"


def thumbnail_path(thumbnails: str, sha256: str) -> str:
    """Return the path of the thumbnail of the content with that hash. The 256 subfolders keep each folder small."""
    return f"{thumbnails}/{sha256[:2]}/{sha256}.jpg"


def thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    """Scale ``size`` (pixels) down so that the longer side is at most `THUMBNAIL_SIDE`; never up, never below 1."""
    longer = max(size)
    if longer <= THUMBNAIL_SIDE:
        return size
    return max(1, round(size[0] * THUMBNAIL_SIDE / longer)), max(1, round(size[1] * THUMBNAIL_SIDE / longer))


def is_complete(path: str) -> bool:
    """Tell whether a whole thumbnail is at ``path``. A power failure can leave one empty or cut short."""
    try:
        return Path(path).read_bytes().endswith(_JPEG_END)
    except FileNotFoundError:
        return False


def save_thumbnail(small: Image.Image, path: str) -> None:
    """Write a thumbnail, whole or not at all. Raises `OSError`."""
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=80, subsampling="4:2:0")
    target = Path(path)
    # Another process, perhaps on another machine, may write the thumbnail of a copy of the same file at this moment.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        try:
            temporary.write_bytes(encoded.getbuffer())
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(encoded.getbuffer())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def small_rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Convert a loaded image of any mode to RGB of ``size``, without metadata. Raises what Pillow raises."""
    if image.mode == "F" or image.mode.startswith("I"):
        small = _deep_grey(image, size)
    elif image.has_transparency_data:
        layer = _scaled(image.convert("RGBA"), size)
        small = Image.new("RGB", size, BACKDROP)
        small.paste(layer, mask=layer.getchannel("A"))
    else:
        # Convert before scaling: averages of CMYK, of palette indices and of single bits are not averages of colours.
        small = _scaled(image if image.mode in ("RGB", "L") else image.convert("RGB"), size)
    small = small.convert("RGB")
    # Pillow would copy the original's comment, of any length, into the thumbnail.
    small.info = {}
    return small


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, _FILTER, reducing_gap=2.0)


def _deep_grey(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale grey of more than 8 bits linearly, from the darkest value in the image to the brightest.

    Sensors store 10, 12 or 14 bits in 16, and float images have any range. Clipping to 8 bits would turn nearly all of
    them white, and assuming the full 16 bits would turn many of them black. In an image of one value only, 16 bits are
    scaled by their nominal range and other modes are clipped to 0..255. NaN and infinity become the darkest value.
    """
    deep = image.convert("F")
    values = np.asarray(deep)
    finite = np.isfinite(values)
    if not finite.all():
        deep = Image.fromarray(np.where(finite, values, values[finite].min() if finite.any() else 0.0))
    values = np.asarray(_scaled(deep, size), dtype=np.float64)
    low, high = values.min(), values.max()
    if high > low:
        values = (values - low) * (255.0 / (high - low))
    elif image.mode.startswith("I;16"):
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
