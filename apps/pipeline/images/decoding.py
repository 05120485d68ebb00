"""Decode the content of an image file to its last pixel, and scale it down.

Which decoder reads a format is said here. Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

import numpy as np
from PIL import AvifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from .bmp import read_header, read_pixels
from .deep import small_of_values
from .jpeg import decode_jpeg, read_plain
from .jxl import jxl_size
from .kinds import format_of_content, what_it_is
from .png import GREY, GREY_ALPHA, RGB, RGBA, Png, read_png
from .refusals import NotTaken, TooLarge
from .scaling import thumbnail_size
from .thumbnails import Remarks, small_rgb
from .tiff import is_raw, keeps_values, read_tiff, tiff_size

# `Image.open` would load these five plugins with the first image, in each process of a pool.
Image.preinit()
# Without these, it loads every plugin there is when it meets one of their files.
_PRELOADED: Final = (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin)

# The modules that give Pillow another format, loaded with the first file of it.
_PLUGINS: Final = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}

# What stands behind the header of a TIFF that is a CR2.
_CANON: Final = b"CR\x02"
_RAW: Final = "a camera's raw file: not supported here"

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that undoes each value of the EXIF tag Orientation (0x0112, CIPA DC-008, 4.6.4)."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image that was decoded, and turned upright. ``size`` is (width, height) in pixels.

    ``small`` is its RGB thumbnail, None if only the header was decoded.
    """

    format: str
    size: tuple[int, int]
    small: Image.Image | None = None
    remarks: Remarks = field(default_factory=Remarks)


def decode(data: bytes, name: str, max_pixels: int, *, render: bool) -> Decoded:
    """Decode the image in ``data``, the content of a file of that name; without ``render`` its header alone.

    Of an animation, and of several pages, the first is decoded. Raises `NotTaken` for what is no image, `TooLarge`,
    `Truncated`, and what Pillow raises, also for images, and frames in them, of more than ``max_pixels``, if that is
    Pillow's limit.
    """
    format_ = format_of_content(data, name)
    if not format_:
        raise NotTaken(what_it_is(data) or "not an image")
    if format_ in _PLUGINS and not _has_plugin(format_):
        raise NotTaken(f"{'JPEG XL' if format_ == 'JXL' else format_}: not supported here")
    if format_ == "TIFF":
        return _decode_tiff(data, max_pixels, render=render)
    if format_ == "PNG":
        return _decode_png(read_png(data), render=render)
    if format_ == "JPEG":
        return _decode_jpeg(data, max_pixels, render=render)
    if format_ == "BMP":
        return _decode_bmp(data, max_pixels, render=render)
    if format_ == "JXL":
        width, height = jxl_size(data)
        if width * height > max_pixels:
            raise TooLarge.of(width, height, max_pixels)
    return _decode(data, format_, render=render)


@cache
def _has_plugin(format_: str) -> bool:
    """Load the plugin of a format. Returns whether it is installed."""
    try:
        importlib.import_module(_PLUGINS[format_])
    except ImportError:
        return False
    if format_ == "HEIF":
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.register_heif_opener()
    else:
        from pillow_jxl import JpegXLImagePlugin

        JpegXLImagePlugin.DECODE_THREADS = 0
    return True


def _decode(data: bytes, format_: str, *, render: bool) -> Decoded:
    with Image.open(io.BytesIO(data), formats=(format_,)) as image:
        # The bytes of the profile stay those of the file; some plugins lose them when they decode.
        profile = image.info.get("icc_profile")
        stored, orientation = image.size, _orientation(image, format_)
        if not render:
            return Decoded(format_, _upright(stored, orientation))
        size = thumbnail_size(stored)
        damage = ""
        decoded: Image.Image | None = None
        if format_ == "JPEG":
            # Adobe stores the inks the other way round.
            is_inverted = image.mode == "CMYK" and "adobe" in image.info
            decoded, damage = decode_jpeg(data, image.mode, size, is_inverted=is_inverted)
            image.draft("RGB", size)
        if decoded is None:
            image.decodermaxblock = len(data)  # decode in one call rather than a block at a time
            image.load()
        small, note = small_rgb(decoded or image, size, profile)
        return _turned(Decoded(format_, stored, small, Remarks(damage, note)), orientation)


def _decode_jpeg(data: bytes, max_pixels: int, *, render: bool) -> Decoded:
    plain = read_plain(data)
    if plain is not None and plain.size[0] * plain.size[1] <= max_pixels:
        if not render:
            return Decoded("JPEG", plain.size)
        size = thumbnail_size(plain.size)
        picture, damage = decode_jpeg(data, plain.mode, size)
        if picture is not None:
            small, note = small_rgb(picture, size)
            return Decoded("JPEG", plain.size, small, Remarks(damage, note))
    return _decode(data, "JPEG", render=render)


def _decode_bmp(data: bytes, max_pixels: int, *, render: bool) -> Decoded:
    try:
        return _decode(data, "BMP", render=render)
    except OSError:
        header = read_header(data, max_pixels)
        if header is None:
            raise
    if not render:
        return Decoded("BMP", header.size)
    small, note = small_rgb(read_pixels(data, header), thumbnail_size(header.size))
    return Decoded("BMP", header.size, small, Remarks("", note))


def _decode_png(png: Png, *, render: bool) -> Decoded:
    is_deep = png.depth == 16 and (png.colour in (RGB, RGBA, GREY_ALPHA) or png.is_transparent)
    if not (render and is_deep):
        if png.colour == GREY and png.is_transparent and png.depth in (2, 4):
            return _decode_keyed_png(png, render=render)
        return _remarked(_decode(png.data, "PNG", render=render), png.damage)
    # Pillow keeps the upper 8 bits of 16.
    import imagecodecs

    with Image.open(io.BytesIO(png.data), formats=("PNG",)) as image:
        stored, orientation = image.size, _orientation(image, "PNG")
    values = np.asarray(imagecodecs.png_decode(png.data))
    small, note = small_of_values(
        values, thumbnail_size(stored), has_alpha=values.shape[2] in (2, 4), is_colour=values.shape[2] >= 3
    )
    return _turned(Decoded("PNG", stored, small, Remarks(png.damage, note)), orientation)


def _decode_keyed_png(png: Png, *, render: bool) -> Decoded:
    """Decode grey of 2 or 4 bits with a transparent value, which Pillow leaves as it is in the file."""
    with Image.open(io.BytesIO(png.data), formats=("PNG",)) as image:
        orientation = _orientation(image, "PNG")
        if not render:
            return Decoded("PNG", _upright(image.size, orientation))
        image.load()
        key = image.info.get("transparency")
        if isinstance(key, int):
            image.info["transparency"] = key * 255 // (2**png.depth - 1)
        small, note = small_rgb(image, thumbnail_size(image.size), image.info.get("icc_profile"))
        return _turned(Decoded("PNG", image.size, small, Remarks(png.damage, note)), orientation)


def _decode_tiff(data: bytes, max_pixels: int, *, render: bool) -> Decoded:
    if data[8:11] == _CANON:
        raise NotTaken(_RAW)
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            if is_raw(image):
                raise NotTaken(_RAW)
            is_kept = keeps_values(image)
        if is_kept:
            return _decode(data, "TIFF", render=render)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError, NotTaken):
        raise
    except Exception as error:
        refusal: Exception | None = error
    else:
        refusal = None
    try:
        return _decode_values(data, max_pixels, render=render)
    except (TooLarge, NotTaken, MemoryError):
        raise
    except Exception as error:
        # What Pillow says of a file that it knows is plainer.
        raise (error if refusal is None or isinstance(refusal, UnidentifiedImageError) else refusal) from error


def _decode_values(data: bytes, max_pixels: int, *, render: bool) -> Decoded:
    if not render:
        width, height, orientation = tiff_size(data, max_pixels)
        return Decoded("TIFF", _upright((width, height), orientation))
    found = read_tiff(data, max_pixels)
    stored = (found.values.shape[1], found.values.shape[0])
    size = thumbnail_size(stored)
    if found.image is not None:
        small, note = small_rgb(found.image, size, found.profile)
    else:
        small, note = small_of_values(found.values, size, has_alpha=found.has_alpha, is_colour=found.is_colour)
    return _turned(Decoded("TIFF", stored, small, Remarks("", note)), found.orientation)


def _remarked(decoded: Decoded, damage: str) -> Decoded:
    return replace(decoded, remarks=decoded.remarks._replace(damage=damage)) if damage else decoded


def _turned(decoded: Decoded, orientation: int) -> Decoded:
    """Return an image turned upright."""
    small = decoded.small
    if small is not None and orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    return replace(decoded, size=_upright(decoded.size, orientation), small=small)


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation >= 5 else size


def _orientation(image: Image.Image, format_: str) -> int:
    """Return the EXIF orientation that is still to be applied, 1..8."""
    if format_ == "TIFF" or (format_ == "JXL" and not getattr(image, "jpeg", False)):
        # The decoders apply it: Pillow's of TIFF reports the upright size from the start. A JPEG within a JPEG XL is
        # given back as it was.
        return 1
    try:
        value = image.getexif().get(0x0112)
    except Exception:
        # Damaged metadata does not make the picture unusable.
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1
