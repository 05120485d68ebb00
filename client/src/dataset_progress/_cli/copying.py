"""Copy one file descriptor to another as fast as the system can, and count what passes."""

from __future__ import annotations

import errno
import importlib
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

# What the kernel moves at once, and the size that pipes are given: a system call for each megabyte.
CHUNK_BYTES = 1 << 20
# What is copied through this process at once: it stays in the processor's cache while it is read, counted and written.
BUFFER_BYTES = 1 << 18
# After so much, NumPy has paid for the time it takes to import.
MIN_BYTES_FOR_NUMPY = 1 << 26
NEWLINE = ord(b"\n")


def copied_bytes(source: int, target: int) -> Iterator[int]:
    """Copy until the end of ``source``. Yield the number of bytes of each chunk, once it is written.

    Each chunk is what can be read at the moment. Raises `OSError`.
    """
    _enlarge(source, target)
    move = _kernel_move(source, target)
    try:
        while move is not None and (n := _wait_for(move, source, target)):
            yield n
    except OSError as error:
        # The kernel cannot move between these two, so it has moved nothing.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        move = None
    if move is None:
        for _, n in _copied_chunks(source, target):
            yield n


def copied_lines(source: int, target: int) -> Iterator[int]:
    """Copy until the end of ``source``. Yield the number of lines of each chunk, as `copied_bytes` does.

    The last line counts even if it has no newline.
    """
    _enlarge(source, target)
    count: Callable[[bytearray, int], int] = _count_newlines
    done, last = 0, NEWLINE
    for buffer, n in _copied_chunks(source, target):
        if done < MIN_BYTES_FOR_NUMPY <= done + n:
            count = _best_count()
        done, last = done + n, buffer[n - 1]
        yield count(buffer, n)
    if last != NEWLINE:
        yield 1


def _copied_chunks(source: int, target: int) -> Iterator[tuple[bytearray, int]]:
    """Copy through a buffer. Yield it with the size of each chunk."""
    buffer = bytearray(BUFFER_BYTES)
    view = memoryview(buffer)
    with io.FileIO(source, closefd=False) as file:
        while n := _wait_for(lambda: file.readinto(buffer), source):
            done = 0
            while done < n:
                done += _wait_for(lambda rest=view[done:n]: os.write(target, rest), target)  # type: ignore[misc]  # mypy infers no type for a default of a lambda
            yield buffer, n


def _kernel_move(source: int, target: int) -> Callable[[], int] | None:
    """Return a function with which the kernel moves a chunk without copying it to this process; None if it has none."""
    if sys.platform == "linux":
        if _is_pipe(source) or _is_pipe(target):
            return lambda: os.splice(source, target, CHUNK_BYTES)
        if stat.S_ISREG(os.fstat(source).st_mode):
            return lambda: os.sendfile(target, source, None, CHUNK_BYTES)
    return None


def _wait_for(move: Callable[[], int | None], *descriptors: int) -> int:
    """Return what ``move`` returns, as soon as it need not wait: another program may have made it non-blocking."""
    while True:
        try:
            if (n := move()) is not None:
                return n
        except BlockingIOError:
            pass
        for descriptor in descriptors:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN | select.POLLOUT)
            poll.poll()


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


def _enlarge(*descriptors: int) -> None:
    """Let pipes hold a whole chunk, where the system allows that."""
    if sys.platform == "linux":
        import fcntl

        for descriptor in filter(_is_pipe, descriptors):
            with suppress(OSError):  # the user has too many large pipes
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)


def _count_newlines(buffer: bytearray, n: int) -> int:
    return buffer.count(NEWLINE, 0, n)


def _best_count() -> Callable[[bytearray, int], int]:
    """Return a function that counts newlines: NumPy's, if that is installed, which is several times as fast."""
    try:
        numpy = importlib.import_module("numpy")
    except ImportError:
        return _count_newlines
    return lambda buffer, n: int(numpy.count_nonzero(numpy.frombuffer(buffer, numpy.uint8, n) == NEWLINE))
