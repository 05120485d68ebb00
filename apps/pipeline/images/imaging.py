"""From image files to facts and thumbnails: read, hash, verify by decoding in full, turn upright, scale down.

Runs inside pool processes, on files that nobody has vetted: whatever is wrong with a file becomes a `Rejected`, and
only what is wrong on our side (the disk for thumbnails is full, say) is raised.
"""

import errno
import hashlib
import io
import multiprocessing
import os
import secrets
import signal
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from .pixels import fit, small_rgb
from .scanning import SNIFF_BYTES, FoundFile, OutsideRoot, looks_like_image, real_path_inside

# `Image.open` imports every plugin there is when it is asked for one of these two and does not know it yet.
_PRELOADED = (TiffImagePlugin, WebPImagePlugin)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
THUMBNAIL_SIDE = 256
MAX_FILE_BYTES = 1 << 30

_JPEG_END = b"\xff\xd9"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF tag Orientation (0x0112, CIPA DC-008, 4.6.4)."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A file whose image, of an animation the first frame, was decoded to its last pixel.

    `path` is the scan's; `size` (bytes) and `mtime_ns` are those of the content that was read, which can be newer than
    the scan. `format` is one of `FORMATS`. All four lengths are in pixels, as the image is meant to be seen, that is
    after its EXIF orientation.
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
    """A file that cannot be used, and why, in a few words for a person."""

    path: str
    reason: str


class _RefusedError(Exception):
    """Carries a reason that is ready to be shown."""


def thumbnail_path(thumbnails: str, sha256: str) -> str:
    """Return where the thumbnail of the content with that hash belongs; 256 folders keep each of them small."""
    return f"{thumbnails}/{sha256[:2]}/{sha256}.jpg"


def index_chunk(root: str, files: Sequence[FoundFile], thumbnails: str, max_pixels: int) -> list[Indexed | Rejected]:
    """Verify and describe `files` of a scan of `root`, a real path, and see to it that each good one has its thumbnail.

    Returns one result for each file, in the order given. A file is read once; it is refused beyond `MAX_FILE_BYTES`
    before being read and beyond `max_pixels` before being decoded. Where the thumbnail of the same content is there
    already, that content has been decoded in full before, so its header alone is looked at.

    Thumbnails are JPEG, at most `THUMBNAIL_SIDE` pixels on the longer side and never larger than the image; they
    appear whole or not at all.

    Raises `OSError` where a thumbnail cannot be read or written, for that is no fault of the file. Pillow's pixel
    limit is global, so a process can run one chunk at a time.
    """
    with _pixel_limit(max_pixels):
        return [_index(root, file, thumbnails, max_pixels) for file in files]


def initialise() -> None:
    """Prepare a pool process: it dies with its parent, however the parent dies, and leaves SIGINT to the parent.

    A worker that outlives a parent killed by SIGKILL would wait for work for ever. The parent is expected to have
    OPENBLAS_NUM_THREADS=1 (and the like for other BLAS) in the environment before the process starts: numpy reads it
    when it is imported, and the pool already has a process for each core.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Memory kept between images, 64 MB at most, rather than returned and faulted in again: some 6 % faster.
    Image.core.set_blocks_max(4)  # type: ignore[attr-defined]  # documented, but not typed
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), name="exit-with-parent", daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@contextmanager
def _pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Have Pillow raise for every image, or frame within one, that has more than `max_pixels` pixels."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd but harmless metadata, which over half a million files only fills a log.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _index(real_root: str, file: FoundFile, thumbnails: str, max_pixels: int) -> Indexed | Rejected:
    try:
        data, mtime_ns = _read(real_root, file.path)
    except Exception as error:
        return Rejected(file.path, _why_unread(error))
    sha256 = hashlib.sha256(data).hexdigest()
    target = thumbnail_path(thumbnails, sha256)
    present = _is_whole(target)
    try:
        format_, (width, height), small = _decode(data, render=not present)
    except Exception as error:
        return Rejected(file.path, _why_undecoded(error, data, max_pixels))
    if small is not None:
        _store(target, small)
    thumbnail = fit((width, height), THUMBNAIL_SIDE)
    return Indexed(file.path, len(data), mtime_ns, sha256, format_, width, height, *thumbnail)


def _read(real_root: str, relative: str) -> tuple[bytes, int]:
    """Return the content and its modification time in nanoseconds."""
    # The file may have become a link or a pipe since the scan: neither is to be followed or waited for.
    descriptor = os.open(real_path_inside(real_root, relative), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _RefusedError("not a regular file")
        if before.st_size > MAX_FILE_BYTES:
            raise _RefusedError(f"too large: {before.st_size:,} bytes, the limit is {MAX_FILE_BYTES:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(before.st_size + 1)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if len(data) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise _RefusedError("changed while it was read")
    if not data:
        raise _RefusedError("empty file")
    return data, before.st_mtime_ns


def _decode(data: bytes, *, render: bool) -> tuple[str, tuple[int, int], Image.Image | None]:
    """Return format, upright (width, height) and, if it is to be rendered, the upright RGB thumbnail."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        # Several pictures in one JPEG (MPO, from phones and stereo cameras): the first is what every viewer shows.
        format_ = "JPEG" if image.format == "MPO" else str(image.format)
        width, height = image.size
        small = None
        if render:
            size = fit(image.size, THUMBNAIL_SIDE)
            # JPEG alone obeys: it is decoded at a half, a quarter or an eighth, but still read to its end.
            image.draft("RGB", size)
            image.decodermaxblock = len(data)  # in one go, not a piece at a time
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
        # Pillow applies a TIFF's own when it loads it, and tells the upright size from the beginning.
        return 1
    try:
        value = image.getexif().get(0x0112)
    except Exception:
        # Garbage in the metadata says nothing against the picture.
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _why_unread(error: Exception) -> str:
    if isinstance(error, _RefusedError):
        return str(error)
    if isinstance(error, OutsideRoot):
        return "a link that leads outside the folder is not followed"
    if isinstance(error, MemoryError):
        return "too large for the memory there is"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return "vanished before it was read"
    return f"cannot be read: {_brief(error)}"


def _why_undecoded(error: Exception, data: bytes, max_pixels: int) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"too large: {_dimensions(data)}, the limit is {max_pixels:,}"
    if isinstance(error, MemoryError):
        return "too large for the memory there is"
    # Pillow says it in a dozen ways, and of WebP not at all; that format states its own length.
    webp = data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)
    if "truncated" in str(error).lower() or webp:
        return "truncated"
    if isinstance(error, UnidentifiedImageError):
        return "damaged: the header cannot be read" if looks_like_image(data[:SNIFF_BYTES]) else "not an image"
    return f"damaged: {_brief(error)}"


def _dimensions(data: bytes) -> str:
    try:
        if data.startswith(b"GIF"):
            # Opening a GIF can already allocate a whole frame, which is what the limit is there to prevent.
            width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
        else:
            with _pixel_limit(None), Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Exception:
        return "too many pixels"
    return f"{width} × {height} pixels"


def _brief(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 100 else words[:99] + "…"


def _is_whole(path: str) -> bool:
    """Tell whether a finished thumbnail is there; one that a power failure left empty or cut short is not."""
    try:
        return Path(path).read_bytes().endswith(_JPEG_END)
    except FileNotFoundError:
        return False


def _store(path: str, small: Image.Image) -> None:
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=80, subsampling="4:2:0")
    target = Path(path)
    # Another process, perhaps on another machine, can be writing the thumbnail of a copy of the same file.
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
