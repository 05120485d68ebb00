"""Open files below a folder, and nowhere else.

A folder is opened once, and what is below it from its descriptor. The kernel refuses a path that leaves the folder
(`openat2`), or each part of the path is opened by itself and no link is followed. So it does not matter which link is
swapped in, or when. Only the standard library is imported, so that pool processes start fast.
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
from typing import BinaryIO, Final, Self

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


class Folder:
    """A folder that is open, and a context manager that closes it.

    Links are followed as long as they stay inside the folder.
    """

    def __init__(self, path: str) -> None:
        """Open the folder at a real path. Raises `OSError`, and `OutsideFolder` if a part of the path is a link now."""
        self.path = path
        root = os.open("/", _DIRECTORY)
        try:
            self._descriptor = _open_without_links(root, path.strip("/"), _DIRECTORY)
        except OSError as error:
            if error.errno in _LINK_MET and os.path.realpath(path) != path:
                raise OutsideFolder(f"the folder has become a link: {path!r}") from None
            raise
        finally:
            os.close(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

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
    def directory(self, relative: str) -> Iterator[int]:
        """Open a directory to be listed, through no link; "" is the folder itself. Yields its descriptor."""
        descriptor = _open_without_links(self._descriptor, relative, os.O_RDONLY | os.O_DIRECTORY)
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
            target = self._target(relative)
            if target == relative:
                raise
        try:
            return _open_without_links(self._descriptor, target, flags)
        except OSError as error:
            if error.errno in _LINK_MET:
                raise OutsideFolder(f"a link was swapped in: {relative!r}") from None
            raise

    def _target(self, relative: str) -> str:
        """Return the path below the folder to which the links of ``relative`` lead. Raises `OutsideFolder`."""
        real = os.path.realpath(f"{self.path}/{relative}")
        if real == self.path:
            return ""
        inside = self.path.rstrip("/") + "/"
        if not real.startswith(inside):
            raise OutsideFolder(f"a link leads outside the folder: {relative!r}")
        return real.removeprefix(inside)


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
