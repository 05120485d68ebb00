"""Verify image files: read each once, hash it, decode it to the last pixel, and make its thumbnail.

Pool processes run this, on files that nobody has checked, so Django is not imported. Whatever is wrong with a file
becomes a `Rejected`. Only other errors, such as a full disk for thumbnails, are raised.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from apps.core.beneath import Folder, Reach

from .decoding import decode
from .native_messages import NativeMessages
from .refusals import FileRefused, TooLarge, decoding_failure, reading_failure
from .scaling import thumbnail_size
from .scanning import FoundFile
from .thumbnails import read_remarks, save_thumbnail, thumbnail_path


@dataclass(frozen=True, slots=True)
class Limits:
    """What files may be. ``keep_damaged``: what can be seen of a damaged picture is a sample, and not a failure."""

    max_pixels: int
    max_bytes: int = 1 << 30
    keep_damaged: bool = True


@dataclass(frozen=True, slots=True)
class Indexed:
    """A file whose image was decoded to its last pixel; of an animation, the first frame.

    `path` is the scan's. `size` (bytes) and `mtime_ns` belong to the content that was read, which can be newer than
    the scan. `format` is one of the formats of `kinds`. The four lengths are in pixels, after the EXIF orientation is
    applied. `damage` says what of the picture could not be decoded, `note` how its values were scaled; both may be
    empty.
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
    damage: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that cannot be used, and the reason in a few words, as people are shown it."""

    path: str
    reason: str


def index_chunk(
    root: str,
    files: Sequence[FoundFile],
    thumbnails: str,
    limits: Limits,
    reach: Reach = Reach(),  # noqa: B008 -- it is immutable
) -> list[Indexed | Rejected]:
    """Verify ``files`` from a scan of ``root``, a real path, and make the thumbnails that are missing.

    Returns one result for each file, in the order given. A file is read once. It is rejected before it is read if it
    has more bytes than ``limits`` allow, and before it is decoded if it has more pixels. If the thumbnail of the same
    content exists, that content was decoded in full before, so only its header is decoded. Links may lead where
    ``reach`` says. What libraries print meanwhile is printed with the path of the file.

    Raises `OSError` where the folder cannot be opened or a thumbnail cannot be read or written, which is not the file's
    fault, and `OutsideFolder` where the folder has become a link. Pillow's pixel limit is global, so a process must run
    one chunk at a time.
    """
    with Folder(root, reach) as folder, _pixel_limit(limits.max_pixels), NativeMessages() as messages:
        results = []
        for file in files:
            results.append(_index_file(folder, file, thumbnails, limits))
            messages.pass_on(file.path)
        return results


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
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


def _index_file(folder: Folder, file: FoundFile, thumbnails: str, limits: Limits) -> Indexed | Rejected:
    try:
        data, mtime_ns = _read(folder, file.path, limits.max_bytes)
    except Exception as error:
        return Rejected(file.path, reading_failure(error))
    sha256 = hashlib.sha256(data).hexdigest()
    path = thumbnail_path(thumbnails, sha256)
    remarks = read_remarks(path)
    try:
        decoded = decode(data, file.path, limits.max_pixels, render=remarks is None)
    except Exception as error:
        return Rejected(file.path, decoding_failure(error, data, file.path, limits.max_pixels))
    remarks = remarks or decoded.remarks
    if remarks.damage and not limits.keep_damaged:
        return Rejected(file.path, f"damaged: {remarks.damage} (DAMAGED is fail)")
    if decoded.small is not None:
        save_thumbnail(decoded.small, path, remarks)
    return Indexed(
        file.path, len(data), mtime_ns, sha256, decoded.format, *decoded.size, *thumbnail_size(decoded.size), *remarks
    )


def _read(folder: Folder, relative: str, max_bytes: int) -> tuple[bytes, int]:
    """Return the content and its modification time in nanoseconds."""
    with folder.open_file(relative) as stream:
        before = os.fstat(stream.fileno())
        if before.st_size > max_bytes:
            size = f"{before.st_size:,} bytes, the limit is {max_bytes:,}"
            raise TooLarge(f"too large: {size} (MAX_IMAGE_BYTES)")
        data = stream.read(before.st_size + 1)
        after = os.fstat(stream.fileno())
    if len(data) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise FileRefused("changed while it was read")
    if not data:
        raise FileRefused("empty file")
    return data, before.st_mtime_ns
