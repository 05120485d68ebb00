"""The ends and the beginnings of processes: what was counted arrives, and a forked process counts for itself."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._run import Run


AGAIN_SECONDS = 0.01

_runs: weakref.WeakSet[Run] = weakref.WeakSet()
_flushes = False
_uninterrupted = 0  # parts of the program, each within the other, that the main thread is in
_told = -1  # where it is written that this process was terminated


def keep(run: Run) -> None:
    """Look after ``run`` until it is gone."""
    _runs.add(run)


def kept() -> list[Run]:
    """The runs that are looked after."""
    while True:
        try:
            return list(_runs)
        except RuntimeError:  # noqa: PERF203 -- another thread has just begun one
            continue


def last_error() -> BaseException | None:
    """What the program died of, or, where there is a person at it, what went wrong last."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None


def flush_before_it_ends() -> None:
    """In a process of `multiprocessing`, which leaves without what is registered with `atexit`: say the last word
    before it ends, and before it is terminated, as a pool does with its workers at the end of a ``with`` block.
    """
    global _flushes
    multiprocessing = sys.modules.get("multiprocessing")
    if _flushes or multiprocessing is None or multiprocessing.parent_process() is None:
        return
    _flushes = True
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.Finalize(None, _end_all, exitpriority=100)
    if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        with suppress(ValueError, RuntimeError):  # it is that of another interpreter; no thread can be started
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                _hear_of_termination()


def _hear_of_termination() -> None:
    """Have `_be_terminated` called, unless someone else is told of signals already."""
    global _told
    heard, told = os.pipe()
    os.set_blocking(told, False)
    if (others := signal.set_wakeup_fd(told, warn_on_full_buffer=False)) != -1:
        signal.set_wakeup_fd(others)
        os.close(heard)
        os.close(told)
        return
    _told = told
    threading.Thread(target=_insist, args=[heard], daemon=True).start()
    signal.signal(signal.SIGTERM, _be_terminated)


def _insist(heard: int) -> None:
    """Once this process is terminated, do it again until `_be_terminated` has begun. Python calls that in the main
    thread, which one signal does not wake where it was just about to wait for something.
    """
    while signal.SIGTERM not in os.read(heard, 64):
        pass
    while signal.getsignal(signal.SIGTERM) is _be_terminated:
        time.sleep(AGAIN_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)


def _be_terminated(number: int, frame: object) -> None:
    if _uninterrupted or any(run.is_held_here() for run in kept()):
        # The thread that says the last word needs what is held here: let go first, and be called again.
        with suppress(BlockingIOError):  # it is full of that
            os.write(_told, bytes([number]))
        return
    signal.signal(number, signal.SIG_IGN)
    _end_all(was_killed=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A part of the program in which the main thread is not terminated."""
    global _uninterrupted
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _uninterrupted += 1
    try:
        yield
    finally:
        _uninterrupted -= 1


@uninterrupted()
def _end_all(*, was_killed: bool = False) -> None:
    """End what is open, all at once, and wait for all of it."""
    error = last_error()
    for run in kept():
        run._end_with_program(error, was_killed=was_killed)
    for run in kept():
        run._wait()


def _in_parent() -> None:
    for run in kept():
        run._is_shared = True


def _in_child() -> None:
    global _flushes, _uninterrupted
    _flushes = False
    _uninterrupted = 0
    if signal.getsignal(signal.SIGTERM) is _be_terminated:  # the parent's, which hears of it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
    for run in kept():
        run._after_fork()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_in_parent, after_in_child=_in_child)
