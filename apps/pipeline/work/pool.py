"""The pool of processes that decode and embed images, behind `concurrent.futures.Executor`.

Django is not imported: the processes load this module to prepare themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self, TypeVar

from PIL import Image

T = TypeVar("T")

PRELOADED = [__name__, "apps.pipeline.images.verify", "apps.pipeline.images.embedders"]


class Pool:
    """A process pool that replaces itself when one of its processes dies.

    The processes come from a fork server that has loaded `PRELOADED` and nothing of Django. They start in milliseconds
    and share no connection, thread or lock with the worker. They start with the pool, while the worker prepares the
    first chunk.
    """

    def __init__(self, processes: int) -> None:
        """``processes``: 0 for one per core."""
        self.processes = processes or os.cpu_count() or 1
        # With several BLAS threads, each process would compete with the others for the cores.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._executor = self._new_executor(self.processes)
        for _ in range(self.processes):
            self._executor.submit(os.getpid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, work: Callable[..., T], *args: object) -> Future[T]:
        """Queue ``work(*args)``."""
        try:
            return self._executor.submit(work, *args)
        except BrokenProcessPool:
            self._executor = self._new_executor(self.processes)
            return self._executor.submit(work, *args)

    def isolate(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work(*args)`` in a process of its own. Raises `BrokenProcessPool` if that process dies."""
        with self._new_executor(1) as executor:
            return executor.submit(work, *args).result()

    def _new_executor(self, processes: int) -> Executor:
        return ProcessPoolExecutor(processes, mp_context=self._context, initializer=prepare_process)


def prepare_process() -> None:
    """Prepare a process of the pool: it ignores SIGINT, which its parent handles, and dies with its parent.

    A process that outlived a parent killed by SIGKILL would wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Keep up to 64 MB between images rather than return it and fault it in again: about 6 % faster.
    Image.core.set_blocks_max(4)  # type: ignore[attr-defined]  # documented, but not in the stubs
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), name="exit-with-parent", daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
