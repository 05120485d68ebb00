"""Convert colours to sRGB, as the ICC profile of an image says.

Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageCms

# The colour space of a profile (ICC.1:2022, 7.2.6), by the mode of the image that it fits.
_SPACES: Final = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
_LARGEST_PROFILE: Final = 4 << 20
_PROFILES_KEPT: Final = 8
# Two profiles whose colours differ by no more than this, of 255, are the same.
_SAME: Final = 1


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image of mode RGB, RGBX, L or CMYK as RGB or RGBX in sRGB.

    Without a profile, or with one that cannot be used, the numbers are taken for sRGB's.
    """
    mode = "RGB" if image.mode == "RGBX" else image.mode
    transform = None
    if profile and len(profile) <= _LARGEST_PROFILE and mode in _SPACES:
        transform = _transform(profile, mode)
    if transform is not None:
        return transform.apply(image if image.mode == mode else image.convert(mode))
    return image if mode == "RGB" else image.convert("RGB")


def is_converted(profile: bytes | None, mode: str) -> bool:
    """Whether `to_srgb` changes the colours of images of a mode."""
    return bool(profile) and len(profile or b"") <= _LARGEST_PROFILE and _transform(profile or b"", mode) is not None


@lru_cache(_PROFILES_KEPT)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB; None if there is none, or if it changes nothing."""
    from PIL import ImageCms  # loaded with the first profile, as it takes a while

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        return None  # damaged metadata do not make the picture unusable
    if mode != "CMYK":
        cube = _test_colours(mode)
        difference = np.asarray(transform.apply(cube), np.int16) - np.asarray(cube.convert("RGB"), np.int16)
        if np.abs(difference).max() <= _SAME:
            return None
    return transform


def _test_colours(mode: str) -> Image.Image:
    """Return an image of colours from all over the cube."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    if mode == "L":
        return Image.fromarray(steps[None])
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3))
