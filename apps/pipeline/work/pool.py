"""The pool of processes that decode and embed images.

Django is not imported: the processes load this module to prepare themselves.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from PIL import Image

T = TypeVar("T")

LOOK_SECONDS: Final = 0.25
SECONDS_TO_END: Final = 0.25
# Options of glibc's `mallopt`: so much free memory stays with the process, and blocks up to that size are part of it.
_TRIM_THRESHOLD: Final = (-1, 32 << 20)
_MMAP_THRESHOLD: Final = (-3, 16 << 20)
PRELOADED = [__name__, "apps.pipeline.images.verify", "apps.pipeline.images.embedders"]


class ItemTimedOut(Exception):
    """An item took longer than it may, and its process was killed."""


class Pool:
    """A process pool that replaces itself when one of its processes dies.

    The processes come from a fork server that has loaded `PRELOADED` and nothing of Django. They start in milliseconds
    and share no connection, thread or lock with the worker. They start with the pool, while the worker prepares the
    first chunk.
    """

    def __init__(self, processes: int, *, seconds: float = 0, look: Callable[[], object] = lambda: None) -> None:
        """``processes``: 0 for one per core. ``seconds``: how long a call may take before its process is killed; 0 for
        ever. ``look`` is called every `LOOK_SECONDS` while the pool waits, and may raise to end the waiting.
        """
        self.processes = processes or os.cpu_count() or 1
        self._seconds = seconds
        self._look = look
        # With several BLAS threads, each process would compete with the others for the cores.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._alone: BaseProcess | None = None
        self._executor = self._new_executor()
        for _ in range(self.processes):
            self._executor.submit(os.getpid)

    def __enter__(self) -> Self:
        _open.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes: after the calls under way, or by force after `SECONDS_TO_END`."""
        _open.discard(self)
        alive = {process.sentinel: process for process in self._running()}
        self._executor.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + SECONDS_TO_END
        while alive and (left := deadline - time.monotonic()) > 0:
            for sentinel in wait_for_any(list(alive), left):
                del alive[sentinel]  # type: ignore[arg-type]  # typed as any waitable; these are sentinels
        for process in alive.values():
            process.kill()

    def submit(self, work: Callable[..., T], *args: object) -> Future[T]:
        """Queue ``work(*args)``."""
        try:
            return self._executor.submit(_within, self._seconds, work, args)
        except BrokenProcessPool:
            self._executor = self._new_executor()
            return self._executor.submit(_within, self._seconds, work, args)

    def wait(self, futures: Iterable[Future[T]]) -> set[Future[T]]:
        """Wait until one of ``futures`` is done. Returns those that are."""
        while not (done := wait(futures, LOOK_SECONDS, FIRST_COMPLETED).done):
            self._look()
        return done

    def isolate(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work(*args)`` in a process of its own. Raises `ItemTimedOut`, or `BrokenProcessPool` if it dies."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._alone = self._context.Process(target=_run_alone, args=(theirs, self._seconds, work, args))
        process.start()
        theirs.close()
        try:
            while not wait_for_any([ours, process.sentinel], LOOK_SECONDS):
                self._look()
            try:
                result, error = ours.recv()
            except EOFError:
                process.join()
                if process.exitcode == -signal.SIGALRM:
                    raise ItemTimedOut(f"took over {self._seconds:g} s (ITEM_SECONDS)") from None
                raise BrokenProcessPool from None
        finally:
            process.kill()
            process.join()
            ours.close()
            self._alone = None
        if error is not None:
            raise error
        return cast(T, result)

    def kill(self) -> None:
        """Kill the processes at once, whatever they do."""
        for process in self._running():
            process.kill()

    def _running(self) -> list[BaseProcess]:
        # The executor has no public list of its processes before Python 3.14.
        pooled = list((self._executor._processes or {}).values())
        return [process for process in [*pooled, self._alone] if process is not None]

    def _new_executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.processes, mp_context=self._context, initializer=prepare_process)


_open: set[Pool] = set()


def kill_all() -> None:
    """Kill the processes of all pools: this process is about to end."""
    for pool in list(_open):
        pool.kill()


def _within[R](seconds: float, work: Callable[..., R], args: tuple[object, ...]) -> R:
    """Run ``work(*args)``. The kernel kills this process should it take longer, whatever holds it up."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return work(*args)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _run_alone(
    results: Connection[Any, Any], seconds: float, work: Callable[..., object], args: tuple[object, ...]
) -> None:
    """Send (result, ``None``) or (``None``, error)."""
    prepare_process()
    try:
        results.send((_within(seconds, work, args), None))
    except Exception as error:
        results.send((None, error))


def prepare_process() -> None:
    """Prepare a process of the pool: it ignores SIGINT, which its parent handles, and dies with its parent.

    A process that outlived a parent killed by SIGKILL would wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Keep up to 64 MB between images rather than return it and fault it in again: about 6 % faster.
    Image.core.set_blocks_max(4)  # type: ignore[attr-defined]  # documented, but not in the stubs
    _keep_memory()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), name="exit-with-parent", daemon=True).start()


def _keep_memory() -> None:
    """Keep the memory of file contents and pixels between images too: about 14 % faster. Other C libraries than glibc
    have no such option.
    """
    with suppress(AttributeError):
        for option, size in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(option, size)


def _exit_after(sentinel: int) -> None:
    wait_for_any([sentinel])
    os._exit(1)
