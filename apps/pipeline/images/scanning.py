"""Find the image files of a folder.

Nothing here decodes an image. Nothing of Django is imported, so that pool processes start fast.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from apps.core.beneath import Folder, NotRegularFile, OutsideFolder

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})

SNIFF_BYTES = 32
"""The number of bytes from the start of a file that `looks_like_image` needs."""

_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",  # TIFF, little endian
    b"MM\x00*",  # TIFF, big endian
    b"II+\x00",  # BigTIFF
    b"MM\x00+",
)
# The sizes of a BMP's second header. The signature BM alone would match the text "BMW prices".
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
_LEAVES = "a link that leads outside the folder is not followed"
_DANGLES = "a link that leads nowhere"
_BAD_NAME = "the name is not valid UTF-8: rename it"


class FoundFile(NamedTuple):
    """A file that may be an image. `path` is relative to the root with POSIX separators, `size` is in bytes."""

    path: str
    size: int
    mtime_ns: int


class Unreadable(NamedTuple):
    """A file or directory that cannot be read. `path` is valid Unicode even if the file's name is not."""

    path: str
    reason: str
    is_directory: bool = False


class MountPoint(NamedTuple):
    """A directory that is on another file system than the one above it."""

    path: str


Entry = FoundFile | Unreadable | MountPoint


def scan(root: Path, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Entry]:
    """Yield the image files and mount points below `root`, recursively, always in the same order for the same tree.

    The files of a directory come before its subdirectories, each sorted by name. Memory holds only the names of one
    directory and of the siblings of its parents.

    A file counts as an image if its name has an image's extension or its content starts like an image's. (If the
    extension is wrong, indexing reports the reason, which is better than a file that never appears.) Hidden names are
    skipped, and so is everything that is neither a regular file nor a directory. Links to directories are not
    followed: inside the root they would repeat or loop, and those that lead outside are reported. Links to files are
    followed if the target is inside the root. Files that vanish during the scan are left out. ``meanwhile`` is called
    before each file and directory, image or not, and may raise to stop the scan.

    Raises `OSError` if the root itself cannot be listed. Anything below it that cannot be read is an `Unreadable`.
    """
    with Folder(os.path.realpath(root)) as folder:
        yield from _scan(folder, meanwhile)


def _scan(folder: Folder, meanwhile: Callable[[], None]) -> Iterator[Entry]:
    # A stack instead of recursion: a tree may be deeper than Python can recurse.
    # Each directory is with the device of the one above it.
    waiting: list[tuple[str, int | None]] = [("", None)]
    while waiting:
        directory, device_above = waiting.pop()
        meanwhile()
        if not _is_text(directory):
            yield Unreadable(_repaired(directory[:-1]), _BAD_NAME, is_directory=True)
            continue
        with ExitStack() as stack:
            try:
                descriptor = stack.enter_context(folder.directory(directory[:-1]))
                files, subdirectories = _list(descriptor)
                device = os.fstat(descriptor).st_dev
            except OSError as error:
                if not directory:
                    raise
                if error.errno not in _GONE:
                    yield Unreadable(directory[:-1], reason_of(error), is_directory=True)
                continue
            if device_above not in (None, device):
                yield MountPoint(directory[:-1])
            for name in files:
                meanwhile()
                found = _examine(folder, descriptor, directory + name, name)
                if found is not None:
                    yield found
        waiting.extend((f"{directory}{name}/", device) for name in reversed(subdirectories))


def looks_like_image(head: bytes) -> bool:
    """Tell whether a file that starts with `head` (`SNIFF_BYTES` of it) is JPEG, PNG, WebP, GIF, BMP or TIFF."""
    if head.startswith(_SIGNATURES):
        return True
    if head.startswith(b"BM"):
        return int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def reason_of(error: OSError) -> str:
    """Return why something cannot be read, as people are shown it."""
    if error.errno == errno.ELOOP:
        return "a link that is not followed"
    return "permission denied" if isinstance(error, PermissionError) else (error.strerror or str(error)).lower()


def mount_point(path: Path) -> Path:
    """Return the directory at or above a real path on which its file system is mounted."""
    device = path.stat().st_dev
    while path.parent != path and path.parent.stat().st_dev == device:
        path = path.parent
    return path


def _list(directory: int) -> tuple[list[str], list[str]]:
    """Return the sorted names of files and links, and those of subdirectories, without hidden ones."""
    files: list[str] = []
    subdirectories: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # Links are listed with the files: `_examine`, which knows the folder, finds out where they lead.
            if entry.is_dir(follow_symlinks=False):
                subdirectories.append(entry.name)
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                files.append(entry.name)
    files.sort()
    subdirectories.sort()
    return files, subdirectories


def _examine(folder: Folder, directory: int, relative: str, name: str) -> FoundFile | Unreadable | None:
    """Classify a regular file or a link in an open directory. Returns ``None`` for one that is skipped."""
    named_like_image = PurePosixPath(name).suffix.lower() in EXTENSIONS
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            try:
                status = folder.status(relative)
            except OutsideFolder:
                # Not opened, but reported: a folder full of links should not just look empty.
                is_reported = named_like_image or Path(folder.path, relative).is_dir()
                return Unreadable(_repaired(relative), _LEAVES) if is_reported else None
            except FileNotFoundError:
                return Unreadable(_repaired(relative), _DANGLES) if named_like_image else None
        if not stat.S_ISREG(status.st_mode) or not (named_like_image or looks_like_image(_head(folder, relative))):
            return None
    except OSError as error:
        return None if error.errno in _GONE else Unreadable(_repaired(relative), reason_of(error))
    if not _is_text(relative):
        return Unreadable(_repaired(relative), _BAD_NAME)
    return FoundFile(relative, status.st_size, status.st_mtime_ns)


def _head(folder: Folder, relative: str) -> bytes:
    try:
        with folder.open_file(relative) as file:
            return file.read(SNIFF_BYTES)
    except (NotRegularFile, OutsideFolder):
        return b""  # what has replaced it since it was looked at


def _is_text(path: str) -> bool:
    # Bytes that are not UTF-8 become lone surrogates, which databases and JSON refuse.
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


def _repaired(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
