"""The processes that decode and embed, behind `concurrent.futures.Executor`."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self, TypeVar

from django.conf import settings

from apps.pipeline.images.imaging import initialise

T = TypeVar("T")


class Pool:
    """A process pool that can be replaced when one of its processes dies under it.

    The processes come from a fork server that has loaded the computing modules and nothing of Django: they start in
    milliseconds and share no connection, thread or lock with the worker. They start with the pool, beside whatever
    comes before the first work.
    """

    def __init__(self) -> None:
        self.processes: int = settings.PIPELINE_PROCESSES or os.cpu_count() or 1
        # A process that had several BLAS threads would fight the others for the cores.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["apps.pipeline.images.imaging", "apps.pipeline.images.embedders"])
        self._executor = self._new(self.processes)
        for _ in range(self.processes):
            self._executor.submit(os.getpid)

    def _new(self, processes: int) -> Executor:
        return ProcessPoolExecutor(processes, mp_context=self._context, initializer=initialise)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, work: Callable[..., T], *args: object) -> Future[T]:
        try:
            return self._executor.submit(work, *args)
        except BrokenProcessPool:
            self._executor = self._new(self.processes)
            return self._executor.submit(work, *args)

    def alone(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` in a process of its own. Raises `BrokenProcessPool` where that process dies of it."""
        with self._new(1) as executor:
            return executor.submit(work, *args).result()
