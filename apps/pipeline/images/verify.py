"""Verify image files: read each once, hash it, decode it to the last pixel, and make its thumbnail.

Pool processes run this, on files that nobody has checked, so Django is not imported. Whatever is wrong with a file
becomes a `Rejected`. Only other errors, such as a full disk for thumbnails, are raised.
"""

import errno
import hashlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from apps.core.beneath import Folder, NotRegularFile, OutsideFolder

from .scanning import SNIFF_BYTES, FoundFile, looks_like_image
from .thumbnails import is_complete, save_thumbnail, small_rgb, thumbnail_path, thumbnail_size

# Without these two, `Image.open` imports every plugin there is when it meets one of their files.
_PRELOADED = (TiffImagePlugin, WebPImagePlugin)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_FILE_BYTES = 1 << 30

_UPRIGHT = {
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
class Indexed:
    """A file whose image was decoded to its last pixel; of an animation, the first frame.

    `path` is the scan's. `size` (bytes) and `mtime_ns` belong to the content that was read, which can be newer than
    the scan. `format` is one of `FORMATS`. The four lengths are in pixels, after the EXIF orientation is applied.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str
    format: str
    width: int
    height: int
    thumbnail_width: int
    thumbnail_height: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that cannot be used, and the reason in a few words, as people are shown it."""

    path: str
    reason: str


class _FileRefused(Exception):
    """The message is the reason of a `Rejected`."""


def index_chunk(root: str, files: Sequence[FoundFile], thumbnails: str, max_pixels: int) -> list[Indexed | Rejected]:
    """Verify ``files`` from a scan of ``root``, a real path, and make the thumbnails that are missing.

    Returns one result for each file, in the order given. A file is read once. It is rejected before it is read if it
    has more than `MAX_FILE_BYTES`, and before it is decoded if it has more than ``max_pixels``. If the thumbnail of the
    same content exists, that content was decoded in full before, so only its header is decoded.

    Raises `OSError` where the folder cannot be opened or a thumbnail cannot be read or written, which is not the file's
    fault, and `OutsideFolder` where the folder has become a link. Pillow's pixel limit is
    global, so a process must run one chunk at a time.
    """
    with Folder(root) as folder, _pixel_limit(max_pixels):
        return [_index_file(folder, file, thumbnails, max_pixels) for file in files]


@contextmanager
def _pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Make Pillow raise for every image, and every frame in one, that has more than ``max_pixels`` pixels."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            # Pillow warns about odd but harmless metadata. Over half a million files that only fills a log.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _index_file(folder: Folder, file: FoundFile, thumbnails: str, max_pixels: int) -> Indexed | Rejected:
    try:
        data, mtime_ns = _read(folder, file.path)
    except Exception as error:
        return Rejected(file.path, _read_failure(error))
    sha256 = hashlib.sha256(data).hexdigest()
    path = thumbnail_path(thumbnails, sha256)
    exists = is_complete(path)
    try:
        format_, (width, height), small = _decode(data, render=not exists)
    except Exception as error:
        return Rejected(file.path, _decode_failure(error, data, max_pixels))
    if small is not None:
        save_thumbnail(small, path)
    return Indexed(file.path, len(data), mtime_ns, sha256, format_, width, height, *thumbnail_size((width, height)))


def _read(folder: Folder, relative: str) -> tuple[bytes, int]:
    """Return the content and its modification time in nanoseconds."""
    with folder.open_file(relative) as stream:
        before = os.fstat(stream.fileno())
        if before.st_size > MAX_FILE_BYTES:
            raise _FileRefused(f"too large: {before.st_size:,} bytes, the limit is {MAX_FILE_BYTES:,}")
        data = stream.read(before.st_size + 1)
        after = os.fstat(stream.fileno())
    if len(data) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise _FileRefused("changed while it was read")
    if not data:
        raise _FileRefused("empty file")
    return data, before.st_mtime_ns


def _decode(data: bytes, *, render: bool) -> tuple[str, tuple[int, int], Image.Image | None]:
    """Return format, upright (width, height) and, with ``render``, the upright RGB thumbnail."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        # MPO is several pictures in one JPEG, from phones and stereo cameras. Viewers show the first, and so do we.
        format_ = "JPEG" if image.format == "MPO" else str(image.format)
        width, height = image.size
        small = None
        if render:
            size = thumbnail_size(image.size)
            # Only JPEG supports this: it is decoded at a half, a quarter or an eighth, but still read to its end.
            image.draft("RGB", size)
            image.decodermaxblock = len(data)  # decode in one call rather than a block at a time
            image.load()
            small = small_rgb(image, size)
        orientation = _orientation(image)
        if orientation >= 5:
            width, height = height, width
        if small is not None and orientation in _UPRIGHT:
            small = small.transpose(_UPRIGHT[orientation])
        return format_, (width, height), small


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied, 1..8."""
    if image.format == "TIFF":
        # Pillow applies a TIFF's own orientation when it loads it, and reports the upright size from the start.
        return 1
    try:
        value = image.getexif().get(0x0112)
    except Exception:
        # Damaged metadata does not make the picture unusable.
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _read_failure(error: Exception) -> str:
    """The reason for a file that could not be read."""
    if isinstance(error, _FileRefused):
        return str(error)
    if isinstance(error, NotRegularFile):
        return "not a regular file"
    if isinstance(error, OutsideFolder):
        return "a link that leads outside the folder is not followed"
    if isinstance(error, MemoryError):
        return "too large for the memory there is"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return "vanished before it was read"
    return f"cannot be read: {_first_words(error)}"


def _decode_failure(error: Exception, data: bytes, max_pixels: int) -> str:
    """The reason for a file that could not be decoded."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"too large: {_dimensions(data)}, the limit is {max_pixels:,}"
    if isinstance(error, MemoryError):
        return "too large for the memory there is"
    # Pillow has a dozen messages for a truncated file and none for WebP, whose header states its length.
    webp = data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)
    if "truncated" in str(error).lower() or webp:
        return "truncated"
    if isinstance(error, UnidentifiedImageError):
        return "damaged: the header cannot be read" if looks_like_image(data[:SNIFF_BYTES]) else "not an image"
    return f"damaged: {_first_words(error)}"


def _dimensions(data: bytes) -> str:
    try:
        if data.startswith(b"GIF"):
            # Read the header by hand: opening a GIF may already allocate a frame, which the limit has to prevent.
            width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
        else:
            with _pixel_limit(None), Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Exception:
        return "too many pixels"
    return f"{width} × {height} pixels"


def _first_words(error: Exception) -> str:
    # The text of an `OSError` would name the file by its path on this server.
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    words = " ".join(text.split()) or type(error).__name__
    return words if len(words) <= 100 else words[:99] + "…"
