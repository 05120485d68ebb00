"""Report how a run ended when its process ends, and nobody closed the run.

This is what the package does to the process that imports it, and why:

*In every program*, one function is registered with `atexit`. It ends the runs that are still open and waits for their
last report, at most ``flush_seconds``.

*In a worker process of `multiprocessing`*, once it reports something:

- The same function is registered as a `multiprocessing.util.Finalize`, because such a process leaves without calling
  `atexit` functions.
- Leaving the ``with`` block of a `multiprocessing.Pool` sends SIGTERM to its workers, which would lose what they
  counted last. So SIGTERM gets a handler that sends the last report and then terminates the process with the same
  signal. It is installed only if nothing else handles SIGTERM or listens on a wake-up descriptor.
- A handler written in Python waits for the main thread, which a signal does not wake if another thread received it, or
  if it arrived just before the main thread began to wait. The pool would then wait for the worker for ever. So a thread
  listens on a wake-up descriptor (`signal.set_wakeup_fd`), which Python writes to at once, and repeats the signal until
  the handler has run.
- The handler interrupts the main thread anywhere. If that holds something that the last report needs, the handler
  returns, and the thread repeats the signal. `defer_termination` and `TerminationSafeLock` mark those sections.

In the main program signals are left alone.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Protocol

from ._registry import Registry

REPEAT_SECONDS = 0.01


class Endable(Protocol):
    """Something open that has to be ended with the process."""

    def end_with_program(self, error: BaseException | None, *, was_terminated: bool) -> None:
        """Begin to end, because the program ends, by ``error`` if there is one."""

    def wait(self) -> None:
        """Wait for the last report."""


endables: Registry[Endable] = Registry()


class _Deferrals(threading.local):
    """How many sections that defer a termination this thread is in."""

    count = 0


_deferrals = _Deferrals()
_is_finalizing = False
_wakeup_fd = -1


@contextmanager
def defer_termination() -> Iterator[None]:
    """Have SIGTERM take effect after this block, if this is the main thread."""
    _deferrals.count += 1
    try:
        yield
    finally:
        _deferrals.count -= 1


class TerminationSafeLock:
    """A reentrant lock that the main thread is not terminated with."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        _deferrals.count += 1
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
        _deferrals.count -= 1


def last_error() -> BaseException | None:
    """Return the exception that ended the program, or, in an interactive session, the last one that was printed."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None


def end_with_worker_process() -> None:
    """In a worker process of `multiprocessing`, end open runs with it. Repeating this is harmless."""
    global _is_finalizing
    multiprocessing = sys.modules.get("multiprocessing")
    if _is_finalizing or multiprocessing is None or multiprocessing.parent_process() is None:
        return
    _is_finalizing = True
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.Finalize(None, _end_with_worker, exitpriority=100)
    if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        with suppress(ValueError, RuntimeError):  # in a subinterpreter; where no thread can be started
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                _handle_termination()


def _handle_termination() -> None:
    """Install the handler of SIGTERM, unless something else listens on a wake-up descriptor."""
    global _wakeup_fd
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    if (previous := signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)) != -1:
        signal.set_wakeup_fd(previous)
        os.close(read_fd)
        os.close(write_fd)
        return
    _wakeup_fd = write_fd
    threading.Thread(target=_repeat_termination, args=[read_fd], daemon=True).start()
    signal.signal(signal.SIGTERM, _on_termination)


def _repeat_termination(read_fd: int) -> None:
    """Wait for SIGTERM, then repeat it until `_on_termination` takes its effect."""
    while signal.SIGTERM not in os.read(read_fd, 64):
        pass
    while signal.getsignal(signal.SIGTERM) is _on_termination:
        time.sleep(REPEAT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)


def _on_termination(number: int, frame: object) -> None:
    if _deferrals.count:
        with suppress(BlockingIOError):  # it is full, so the thread will repeat the signal anyway
            os.write(_wakeup_fd, bytes([number]))  # the descriptor may have been replaced: make sure of the repetition
        return
    signal.signal(number, signal.SIG_IGN)  # ends the repetition
    _end_all(was_terminated=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _end_with_worker() -> None:
    # The finalizers run in the ``finally`` clause of what the worker does.
    _end_all(sys.exc_info()[1])


@defer_termination()
def _end_all(error: BaseException | None = None, *, was_terminated: bool = False) -> None:
    """End all open runs, by ``error`` or the one that ended the program, then wait for their last reports together."""
    error = error or last_error()
    for each in endables:
        each.end_with_program(error, was_terminated=was_terminated)
    for each in endables:
        each.wait()


def _after_fork_in_child() -> None:
    """Let the child of a worker start anew: it has neither the thread nor the finalizer, and shares the descriptor."""
    global _is_finalizing
    _is_finalizing = False
    if signal.getsignal(signal.SIGTERM) is _on_termination:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
