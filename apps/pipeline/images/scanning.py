"""Find the image files of a folder.

Nothing here decodes an image. Nothing of Django is imported, so that pool processes start fast.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from apps.core.beneath import Folder, NotRegularFile, OutsideFolder, Reach, is_below

from .kinds import HEAD_BYTES, format_of, named_format
from .selection import LINKS_TO_FOLDERS, SPECIAL, Selection, Tally, litter_name

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
LEAVES: Final = (
    "a link that leads outside the folder is not followed: FOLLOW_LINKS_TO names where links may lead, and"
    " process --follow-links follows all but those into DATA_DIR"
)
# How many links to directories outside the folder are followed. Each takes the memory of its path.
MOST_LINKED_DIRECTORIES: Final = 10_000
_TOO_MANY_LINKS = f"a link to a directory is not followed: {MOST_LINKED_DIRECTORIES:,} others were"
_DANGLES = "a link that leads nowhere"
_CIRCLES = "a link that leads back to itself, or through too many others"
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
    """A directory that is on another file system than the one above it, and which (`file_system_of`)."""

    path: str
    file_system: str


Entry = FoundFile | Unreadable | MountPoint


def scan(
    root: Path,
    meanwhile: Callable[[], None] = lambda: None,
    *,
    selection: Selection | None = None,
    tally: Tally | None = None,
    reach: Reach = Reach(),  # noqa: B008 -- it is immutable
) -> Iterator[Entry]:
    """Yield the image files and mount points below `root`, recursively, always in the same order for the same tree.

    The files of a directory come before its subdirectories, each sorted by name. Memory holds only the names of one
    directory and of the siblings of its parents.

    A file counts as an image if its name has an image's ending or its content starts like an image's. (If the ending is
    wrong, indexing reports the reason, which is better than a file that never appears.) Every other file is counted in
    ``tally``: those that are no images, what is hidden or litter of a system, and what ``selection`` leaves out.

    Links to files are followed if the target is inside the root or where ``reach`` lets links lead. So are links to
    directories outside the root, each directory once; inside the root they would repeat or loop. What else leads
    outside is reported. Files that vanish during the scan are left out. ``meanwhile`` is called before each file and
    directory, image or not, and may raise to stop the scan.

    Raises `OSError` if the root itself cannot be listed. Anything below it that cannot be read is an `Unreadable`.
    """
    with Folder(os.path.realpath(root), reach) as folder:
        yield from _Scan(folder, meanwhile, selection or Selection(), tally or Tally()).entries()


class _Waiting(NamedTuple):
    """A directory to be listed: its path with a slash at its end, the device of the one above it, and whether a link
    led there.
    """

    path: str
    device_above: int | None = None
    is_linked: bool = False


class _Scan:
    """A scan of an open folder."""

    def __init__(self, folder: Folder, meanwhile: Callable[[], None], selection: Selection, tally: Tally) -> None:
        self._folder = folder
        self._meanwhile = meanwhile
        self._selection = selection
        self._tally = tally
        # The directories outside the folder that links have led to.
        self._linked: set[str] = set()

    def entries(self) -> Iterator[Entry]:
        # A stack instead of recursion: a tree may be deeper than Python can recurse.
        waiting = [_Waiting("")]
        while waiting:
            directory, device_above, is_linked = waiting.pop()
            self._meanwhile()
            if not _is_text(directory):
                yield Unreadable(_repaired(directory[:-1]), _BAD_NAME, is_directory=True)
                continue
            with ExitStack() as stack:
                try:
                    opened = self._folder.directory(directory[:-1], through_links=is_linked)
                    descriptor = stack.enter_context(opened)
                    files, subdirectories = self._list(descriptor, directory)
                    device = os.fstat(descriptor).st_dev
                    is_mounted = device_above not in (None, device)
                    file_system = file_system_of(descriptor) if is_mounted else ""
                except OSError as error:
                    if not directory:
                        raise
                    if error.errno not in _GONE:
                        yield Unreadable(directory[:-1], reason_of(error), is_directory=True)
                    continue
                except OutsideFolder:
                    yield Unreadable(directory[:-1], LEAVES, is_directory=True)
                    continue
                if is_mounted:
                    yield MountPoint(directory[:-1], file_system)
                linked: list[str] = []
                for name in files:
                    self._meanwhile()
                    found = self._examine(descriptor, directory + name, name)
                    if isinstance(found, _LinkedDirectory):
                        linked.append(name)
                    elif found is not None:
                        yield found
            below = [_Waiting(f"{directory}{name}/", device, is_linked) for name in subdirectories]
            below += [_Waiting(f"{directory}{name}/", device, is_linked=True) for name in linked]
            waiting.extend(sorted(below, key=lambda one: one.path[:-1], reverse=True))

    def _list(self, descriptor: int, directory: str) -> tuple[list[str], list[str]]:
        """Return the sorted names of files and links, and those of subdirectories, without what is left out."""
        files: list[str] = []
        subdirectories: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if word := litter_name(entry.name):
                    self._tally.left_out[word] += 1
                # Links are listed with the files: `_examine` finds out where they lead.
                elif entry.is_dir(follow_symlinks=False):
                    if self._selection.leaves_out_directory(directory + entry.name):
                        self._tally.excluded += 1
                    else:
                        subdirectories.append(entry.name)
                elif not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                    self._tally.others[SPECIAL] += 1
                elif self._selection.leaves_out_file(directory + entry.name):
                    self._tally.excluded += 1
                else:
                    files.append(entry.name)
        files.sort()
        subdirectories.sort()
        return files, subdirectories

    def _examine(self, descriptor: int, relative: str, name: str) -> Entry | _LinkedDirectory | None:
        """Classify a regular file or a link in an open directory. Returns ``None`` for one that is counted, or gone."""
        is_named = bool(named_format(name))
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                try:
                    status = self._folder.status(relative)
                except OutsideFolder:
                    # Not opened, but reported: a folder full of links should not just look empty.
                    if is_named or Path(self._folder.path, relative).is_dir():
                        return Unreadable(_repaired(relative), LEAVES)
                    self._tally.add_other(name)
                    return None
                except FileNotFoundError:
                    if is_named:
                        return Unreadable(_repaired(relative), _DANGLES)
                    self._tally.add_other(name)
                    return None
                except OSError as error:
                    if error.errno != errno.ELOOP:
                        raise
                    if is_named:
                        return Unreadable(_repaired(relative), _CIRCLES)
                    self._tally.add_other(name)
                    return None
                if stat.S_ISDIR(status.st_mode):
                    return self._follow(relative)
            if not stat.S_ISREG(status.st_mode):
                self._tally.others[SPECIAL] += 1
                return None
            if not (is_named or format_of(_head(self._folder, relative))):
                self._tally.add_other(name)
                return None
        except OSError as error:
            return None if error.errno in _GONE else Unreadable(_repaired(relative), reason_of(error))
        if not _is_text(relative):
            return Unreadable(_repaired(relative), _BAD_NAME)
        return FoundFile(relative, status.st_size, status.st_mtime_ns)

    def _follow(self, relative: str) -> Entry | _LinkedDirectory | None:
        """Return what becomes of a link to a directory. One that would repeat what the scan lists is counted."""
        target = self._folder.target(relative)
        overlaps = any(is_below(target, one) or is_below(one, target) for one in (self._folder.path, *self._linked))
        if overlaps or self._selection.leaves_out_directory(relative):
            self._tally.others[LINKS_TO_FOLDERS] += 1
            return None
        if len(self._linked) >= MOST_LINKED_DIRECTORIES:
            return Unreadable(_repaired(relative), _TOO_MANY_LINKS)
        self._linked.add(target)
        return _LinkedDirectory()


class _LinkedDirectory:
    """A link to a directory outside the folder, which is followed."""


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


def file_system_of(place: Path | int) -> str:
    """Return what tells a file system from others, of a path or an open directory.

    That of ext4, Btrfs and ZFS comes from their UUID, that of XFS and FAT from the number of the device. NFS has none.
    """
    return f"{os.statvfs(place).f_fsid:x}"


def _head(folder: Folder, relative: str) -> bytes:
    try:
        with folder.open_file(relative) as file:
            return file.read(HEAD_BYTES)
    except (NotRegularFile, OutsideFolder):
        return b""  # what has replaced it since it was looked at


def _is_text(path: str) -> bool:
    # Bytes that are not UTF-8 become lone surrogates, which databases and JSON refuse.
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


def _repaired(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
