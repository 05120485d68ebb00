"""The ends and the beginnings of processes: what was counted arrives, and a forked process counts for itself."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._run import Run


_runs: weakref.WeakSet[Run] = weakref.WeakSet()
_flushes = False


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
    if threading.current_thread() is threading.main_thread():
        with suppress(ValueError):  # it is the main thread of another interpreter
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _be_terminated)


def _be_terminated(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    _end_all(was_killed=True)
    os.kill(os.getpid(), number)


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
    global _flushes
    _flushes = False
    for run in kept():
        run._after_fork()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_in_parent, after_in_child=_in_child)
