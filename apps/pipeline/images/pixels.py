"""Every kind of pixel that Pillow can hand out, made into a small RGB picture."""

import numpy as np
from PIL import Image

BACKDROP = (128, 128, 128)
"""What shows through transparency. On mid-grey both a white and a black drawing stay visible, and stay different to an
embedder; on white the first would be an empty picture."""

_FILTER = Image.Resampling.HAMMING
"""As sharp as bicubic when scaling down, at half the cost (Pillow's handbook, "Filters")."""


def fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return `size` (pixels) scaled so that the longer side is at most `side`; never enlarged, never below 1."""
    longer = max(size)
    if longer <= side:
        return size
    return max(1, round(size[0] * side / longer)), max(1, round(size[1] * side / longer))


def small_rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a loaded image of any mode as RGB of `size`, without metadata. Raises what Pillow raises."""
    if image.mode == "F" or image.mode.startswith("I"):
        small = _deep_grey(image, size)
    elif image.has_transparency_data:
        layer = _scaled(image.convert("RGBA"), size)
        small = Image.new("RGB", size, BACKDROP)
        small.paste(layer, mask=layer.getchannel("A"))
    else:
        # Ink mixes like light only after the conversion, and palette indices and single bits do not mix at all.
        small = _scaled(image if image.mode in ("RGB", "L") else image.convert("RGB"), size)
    small = small.convert("RGB")
    # Pillow would write a comment of the original, of whatever length, into the thumbnail.
    small.info = {}
    return small


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, _FILTER, reducing_gap=2.0)


def _deep_grey(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale more than 8 bits of grey linearly, from the darkest value that occurs to the brightest.

    Sensors put 10, 12 or 14 bits into 16, and float images have any range at all: clipping to the lowest 8 bits would
    make nearly all of them white, and assuming all 16 would make many of them black. Where there is only one value, 16
    bits are scaled by their nominal range and others are clipped to 0..255. What is not a number becomes the darkest.
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
