"""Read TIFFs whose values Pillow does not keep: several bands, 16-bit colours, floats, signed and large integers.

tifffile is loaded with the first of them, because it takes long. Nothing of Django is imported.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from .refusals import FileRefused, NotTaken, TooLarge, Truncated

if TYPE_CHECKING:
    from tifffile import TiffPage

# TIFF 6.0, sections 8, 18 and 19; the numbers of the tags.
_KIND_OF_PAGE: Final = 254
_BITS: Final = 258
_PHOTOMETRIC: Final = 262
_ORIENTATION: Final = 274
_SAMPLES: Final = 277
_SUBPAGES: Final = 330
_SAMPLE_FORMAT: Final = 339
_PROFILE: Final = 34675
_DNG_VERSION: Final = 50706
_RGB: Final = 2
_CMYK: Final = 5
_LAB: Final = 8
_WHITE_IS_ZERO: Final = 0
_ALPHA: Final = frozenset({1, 2})
# The values of an image may take this many bytes for each pixel that an image may have.
BYTES_A_PIXEL: Final = 8


class Values(NamedTuple):
    """The values of an image, shape (height, width, bands), or an image of 8 bits; and how to turn it."""

    values: NDArray[Any]
    image: Image.Image | None
    orientation: int
    has_alpha: bool
    is_colour: bool
    profile: bytes | None


def is_raw(image: Image.Image) -> bool:
    """Whether a TIFF, which Pillow has opened, is a camera's raw file: DNG, NEF, ARW or the like.

    Its first page is a small preview, and says that it is one, or that the file is a DNG.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    is_preview = tags.get(_KIND_OF_PAGE, 0) & 1 and _SUBPAGES in tags
    return bool(is_preview or _DNG_VERSION in tags)


def keeps_values(image: Image.Image) -> bool:
    """Whether Pillow, which has opened a TIFF, decodes it without losing bits or signs."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return True
    bits = max(image.tag_v2.get(_BITS, (1,)))
    kind = max(image.tag_v2.get(_SAMPLE_FORMAT, (1,)))
    samples = image.tag_v2.get(_SAMPLES, 1)
    wraps = (kind, bits) in ((2, 8), (1, 32))
    return not wraps and not (bits == 16 and samples >= 2)


def tiff_size(data: bytes, max_pixels: int) -> tuple[int, int, int]:
    """Return width and height as stored, and the orientation.

    Raises `TooLarge`, `NotTaken`, `Truncated`, and what tifffile raises.
    """
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(data)) as file:
        page = _first_page(file.pages, data, max_pixels)
        return page.imagewidth, page.imagelength, _orientation(page)


def read_tiff(data: bytes, max_pixels: int) -> Values:
    """Return the values of the first page. Raises `TooLarge`, `NotTaken`, `Truncated`, and what tifffile raises."""
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(data)) as file:
        page = _first_page(file.pages, data, max_pixels)
        values = _decoded(page)
        if page.axes == "SYX":
            values = values.transpose(1, 2, 0)
        elif values.ndim == 2:
            values = values[..., None]
        profile = page.tags.get(_PROFILE)
        icc = bytes(profile.value) if profile is not None and isinstance(profile.value, bytes) else None
        photometric = int(page.photometric)
        has_alpha = bool(page.extrasamples) and int(page.extrasamples[-1]) in _ALPHA and values.shape[2] > 1
        image = _inks(values, photometric)
        if photometric == _WHITE_IS_ZERO and np.issubdtype(values.dtype, np.unsignedinteger):
            values = np.iinfo(values.dtype).max - values
        return Values(values, image, _orientation(page), has_alpha, photometric == _RGB, icc)


def _first_page(pages: Any, data: bytes, max_pixels: int) -> TiffPage:
    """Return the first page, if it can and may be decoded."""
    from tifffile import TIFF

    page: TiffPage = pages[0]
    width, height = page.imagewidth, page.imagelength
    if width * height > max_pixels:
        raise TooLarge.of(width, height, max_pixels)
    if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None:
        raise NotTaken(f"TIFF of the layout {page.axes or 'unknown'}: not supported here")
    if page.nbytes > BYTES_A_PIXEL * max_pixels:
        raise TooLarge(
            f"its values take {page.nbytes:,} bytes, the limit is {BYTES_A_PIXEL} for each pixel of MAX_IMAGE_PIXELS"
        )
    if page.compression not in TIFF.DECOMPRESSORS:
        name = getattr(page.compression, "name", str(page.compression))
        raise NotTaken(f"TIFF with {name} compression: not supported here")
    ends = (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False))
    if max(ends, default=0) > len(data):
        raise Truncated
    return page


def _decoded(page: TiffPage) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except MemoryError:
        raise
    except Exception as error:
        name = getattr(page.compression, "name", str(page.compression))
        raise FileRefused(f"damaged: its values cannot be decoded ({name} compression)") from error


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(_ORIENTATION)
    return tag.value if tag is not None and isinstance(tag.value, int) else 1


def _inks(values: NDArray[Any], photometric: int) -> Image.Image | None:
    """Return an image of 16 bits in CMYK or Lab as one of 8; None for any other."""
    if values.dtype != np.uint16 or (photometric, values.shape[2]) not in ((_CMYK, 4), (_LAB, 3)):
        return None
    raw = (values >> 8).astype(np.uint8)
    mode = "CMYK" if photometric == _CMYK else "LAB"
    # The a and b of a TIFF are signed; the decoder of this mode knows.
    return Image.frombytes(mode, (values.shape[1], values.shape[0]), raw.tobytes(), "raw", mode)
