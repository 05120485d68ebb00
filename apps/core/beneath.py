"""Open files below a folder, and nowhere else.

A folder is opened once, and what is below it from its descriptor. So is every directory outside it that its links may
lead to. The kernel refuses a path that leaves the folder (`openat2`), or each part of the path is opened by itself and
no link is followed. So it does not matter which link is swapped in, or when. Only the standard library is imported, so
that pool processes start fast.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import PurePosixPath
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

# Where there is no O_PATH, a directory has to be readable to be passed through.
_O_PATH: Final = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)
_DIRECTORY: Final = _O_PATH | os.O_DIRECTORY
# Without O_NONBLOCK, a pipe in place of a file would be waited for.
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY

# linux/openat2.h. The number of the call is the same on every architecture that Python runs on.
_SYS_OPENAT2: Final = 437
_AT_FDCWD: Final = -100
_NO_MAGICLINKS: Final = 0x02
_NO_SYMLINKS: Final = 0x04
_BENEATH: Final = 0x08

# What says that a link was met which was not followed, or that may say so.
_LINK_MET: Final = frozenset({errno.EXDEV, errno.ELOOP, errno.EAGAIN})


class OutsideFolder(ValueError):
    """A path that is not, or is no longer, inside its folder; or a folder that has become a link."""


class NotRegularFile(OSError):
    """A directory, a pipe, a socket or a device, where a file was to be read."""


class Reach(NamedTuple):
    """Where links may lead besides their folder: into ``roots``, but not into ``never``. All are real paths."""

    roots: tuple[str, ...] = ()
    never: str = ""

    def root_of(self, real: str) -> str | None:
        """Return the root that holds a real path; None if there is none."""
        if self.never and is_below(real, self.never):
            return None
        return next((root for root in self.roots if is_below(real, root)), None)


def is_below(path: str, directory: str) -> bool:
    """Whether a real path is a directory's or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class Folder:
    """A folder that is open, and a context manager that closes it.

    Links are followed as long as they stay inside the folder, or lead where ``reach`` lets them.
    """

    def __init__(self, path: str, reach: Reach = Reach()) -> None:  # noqa: B008 -- it is immutable
        """Open the folder at a real path. Raises `OSError`, and `OutsideFolder` if a part of the path is a link now."""
        self.path = path
        self.reach = reach
        # The roots that links have led into, each opened once.
        self._beyond: dict[str, int] = {}
        self._descriptor = _open_folder(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for descriptor in (self._descriptor, *self._beyond.values()):
            os.close(descriptor)

    def open_file(self, relative: str) -> BinaryIO:
        """Open a file to be read. Raises `OutsideFolder`, `NotRegularFile` or another `OSError`."""
        descriptor = self._open(relative, _READ)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotRegularFile(errno.EINVAL, "not a regular file", relative)
        except BaseException:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "rb")

    def status(self, relative: str) -> os.stat_result:
        """Return the status of a file or directory, not of a link to it. Raises `OutsideFolder` or `OSError`."""
        descriptor = self._open(relative, _O_PATH)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def directory(self, relative: str, *, through_links: bool = False) -> Iterator[int]:
        """Open a directory to be listed; "" is the folder itself. Yields its descriptor.

        Without ``through_links``, no part of the path may be a link.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY
        if through_links and relative:
            descriptor = self._open(relative, flags)
        else:
            descriptor = _open_without_links(self._descriptor, relative, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, relative: str, flags: int) -> int:
        parts = PurePosixPath(relative).parts
        if not parts or parts[0].startswith("/") or ".." in parts or "\0" in relative:
            raise OutsideFolder(f"not a path inside the folder: {relative!r}")
        try:
            if _has_openat2():
                return _openat2(self._descriptor, relative, flags, _BENEATH | _NO_MAGICLINKS)
            return _walk(self._descriptor, parts, flags)
        except OSError as error:
            if error.errno not in _LINK_MET:
                raise
            # A link that names its target from the root of the file system, or any link without openat2. Where it
            # leads is a hint: no link is followed on the way there, should another have taken a place by then.
            real = self.target(relative)
            descriptor, target = self._nearest(real, relative)
            if descriptor == self._descriptor and target == relative:
                raise
        try:
            return _open_without_links(descriptor, target, flags)
        except OSError as error:
            if error.errno in _LINK_MET:
                raise OutsideFolder(f"a link was swapped in: {relative!r}") from None
            raise

    def target(self, relative: str) -> str:
        """Return the real path to which the links of ``relative`` lead at this moment, wherever that is."""
        return os.path.realpath(f"{self.path}/{relative}")

    def _nearest(self, real: str, relative: str) -> tuple[int, str]:
        """Return the open directory that holds a real path, and the path below it. Raises `OutsideFolder`."""
        if is_below(real, self.path):
            return self._descriptor, real[len(self.path) :].strip("/")
        root = self.reach.root_of(real)
        if root is None:
            raise OutsideFolder(f"a link leads outside the folder: {relative!r}")
        if root not in self._beyond:
            self._beyond[root] = _open_folder(root)
        return self._beyond[root], real[len(root) :].strip("/")


def _open_folder(path: str) -> int:
    """Open a directory at a real path. Raises `OSError`, and `OutsideFolder` if a part of the path is a link now."""
    root = os.open("/", _DIRECTORY)
    try:
        return _open_without_links(root, path.strip("/"), _DIRECTORY)
    except OSError as error:
        if error.errno in _LINK_MET and os.path.realpath(path) != path:
            raise OutsideFolder(f"the folder has become a link: {path!r}") from None
        raise
    finally:
        os.close(root)


def _open_without_links(directory: int, relative: str, flags: int) -> int:
    if _has_openat2():
        return _openat2(directory, relative or ".", flags, _BENEATH | _NO_SYMLINKS)
    return _walk(directory, PurePosixPath(relative).parts or (".",), flags)


def _walk(directory: int, parts: tuple[str, ...], flags: int) -> int:
    """Open one part after the other, and follow no link."""
    *parents, last = parts
    current = directory
    try:
        for part in parents:
            following = _open_part(current, part, _DIRECTORY)
            if current != directory:
                os.close(current)
            current = following
        return _open_part(current, last, flags)
    finally:
        if current != directory:
            os.close(current)


def _open_part(directory: int, name: str, flags: int) -> int:
    """Open an entry of a directory. Raises `OSError` with ELOOP for a link, as openat2 does."""
    try:
        descriptor = os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise _link_met(name) from None
        raise
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):  # O_PATH opens the link itself
        os.close(descriptor)
        raise _link_met(name)
    return descriptor


def _link_met(name: str) -> OSError:
    return OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)


class _How(ctypes.Structure):
    """The C struct ``open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    call = _libc().syscall
    name = ctypes.c_char_p(os.fsencode(path))
    size = ctypes.c_size_t(ctypes.sizeof(how))
    while True:
        descriptor: int = call(ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(directory), name, ctypes.byref(how), size)
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code), path)


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


@cache
def _has_openat2() -> bool:
    """Whether this kernel has the call (Linux 5.6), and lets this process use it."""
    if sys.platform != "linux":
        return False
    try:
        os.close(_openat2(_AT_FDCWD, ".", _O_PATH, _BENEATH))
    except OSError:
        return False
    return True
