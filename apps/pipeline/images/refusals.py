"""Why a file is no sample: what decoders raise, and the words for it.

Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import errno
import io
import re
from typing import Final, Self

from PIL import Image, UnidentifiedImageError

from apps.core.beneath import NotRegularFile, OutsideFolder

from .kinds import format_of_content
from .scanning import LEAVES

_MEMORY: Final = "too large for the memory there is"
# What Pillow says of a file that is valid, but of a variety that it does not read.
_UNSUPPORTED: Final = re.compile(
    r"unsupported|not supported|unknown (pixel|raw|compression)|cannot handle", re.IGNORECASE
)
_UNDECODABLE: Final = re.compile(
    r"(decoder|decoding|generic) error|(broken|unrecognized) data stream|codec configuration", re.IGNORECASE
)
_TOO_SHORT: Final = re.compile("truncated|premature end|not enough image data|reached EOF", re.IGNORECASE)


class FileRefused(Exception):
    """The message is the reason, as people are shown it."""


class NotTaken(FileRefused):
    """What is no image, or of a kind that is not supported here."""


class Truncated(FileRefused):
    """The file ends before its picture does."""

    def __init__(self) -> None:
        super().__init__("truncated")


class TooLarge(FileRefused):
    """More than a limit allows."""

    @classmethod
    def of(cls, width: int, height: int, max_pixels: int, what: str = "") -> Self:
        return cls(f"too large: {what}{width} × {height} pixels, the limit is {max_pixels:,} (MAX_IMAGE_PIXELS)")


def reading_failure(error: Exception) -> str:
    """Return the reason for a file that could not be read."""
    if isinstance(error, FileRefused):
        return str(error)
    if isinstance(error, NotRegularFile):
        return "not a regular file"
    if isinstance(error, OutsideFolder):
        return LEAVES
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return "vanished before it was read"
    return f"cannot be read: {_first_words(error)}"


def decoding_failure(error: Exception, data: bytes, name: str, max_pixels: int) -> str:
    """Return the reason for ``data``, the content of a file of that name, that could not be decoded."""
    if isinstance(error, FileRefused):
        return str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _bomb(data, max_pixels)
    if isinstance(error, MemoryError):
        return _MEMORY
    text = str(error)
    format_ = format_of_content(data, name)
    if _TOO_SHORT.search(text) or _ends_early(data, format_):
        return str(Truncated())
    if isinstance(error, UnidentifiedImageError):
        return "damaged: its header cannot be read"
    if _UNSUPPORTED.search(text):
        return f"a variety of {format_} that is not supported here: {_first_words(error)}"
    if _UNDECODABLE.search(text):
        return "damaged: its compressed data cannot be decoded"
    return f"damaged: {_first_words(error)}"


def _ends_early(data: bytes, format_: str) -> bool:
    """Whether a file of a format, for which decoders have no word of their own, is shorter than it says itself."""
    match format_:
        case "WEBP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "JPEG":
            return not data.endswith(b"\xff\xd9")  # the marker EOI (ITU-T T.81, B.2.1)
        case "TIFF":
            start, end = (8, 16) if b"+" in data[2:4] else (4, 8)  # where the first directory is
            return len(data) <= max(end, int.from_bytes(data[start:end], "little" if data[:1] == b"I" else "big"))
        case "JPEG2000":
            return not data.rstrip(b"\0").endswith(b"\xff\xd9")  # the marker EOC (ISO/IEC 15444-1, A.4.4)
        case "AVIF" | "HEIF" | "JXL" if data[:1] != b"\xff":
            position = 0
            while position + 8 <= len(data):
                size = int.from_bytes(data[position : position + 4], "big")
                if size == 1:
                    size = int.from_bytes(data[position + 8 : position + 16], "big")
                if size < 8:  # to the end of the file, or nonsense
                    return False
                position += size
            return position > len(data)
    return False


def _bomb(data: bytes, max_pixels: int) -> str:
    """Return what is too large: the image, or a frame in it."""
    try:
        if data.startswith(b"GIF"):
            # Read by hand: opening a GIF may already allocate a frame, which the limit has to prevent.
            width, height = _two_lengths(data, 6)
            if width * height > max_pixels:
                return str(TooLarge.of(width, height, max_pixels))
            return str(TooLarge.of(*_two_lengths(data, _first_frame(data) + 5), max_pixels, "a frame of "))
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(io.BytesIO(data)) as image:
                return str(TooLarge.of(*image.size, max_pixels))
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    except Exception:
        return f"too large: more pixels than {max_pixels:,} (MAX_IMAGE_PIXELS)"


def _two_lengths(data: bytes, position: int) -> tuple[int, int]:
    return (
        int.from_bytes(data[position : position + 2], "little"),
        int.from_bytes(data[position + 2 : position + 4], "little"),
    )


def _first_frame(data: bytes) -> int:
    """Return where the first image of a GIF begins (GIF89a, 20). Raises `ValueError` or `IndexError`."""
    position = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while data[position] == 0x21:  # an extension: blocks of up to 255 bytes, and an empty one
        position += 2
        while data[position]:
            position += data[position] + 1
        position += 1
    if data[position] != 0x2C:
        raise ValueError("no image in a GIF")
    return position


def _first_words(error: Exception) -> str:
    # The text of an `OSError` would name the file by its path on this server.
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if error.args and isinstance(error.args[0], bytes):
        text = error.args[0].decode(errors="replace")
    words = " ".join(text.split()) or type(error).__name__
    return words if len(words) <= 100 else words[:99] + "…"
