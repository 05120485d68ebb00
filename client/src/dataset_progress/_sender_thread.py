"""The thread that makes all requests of this process to one server, for every run that reports there.

It lives as long as there is something to report. The job never waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from ._api import Api, Server, logger

if TYPE_CHECKING:
    import httpx

REQUESTS_A_SECOND = 4
# How many runs may wait for one server. Further ones are not reported, so that memory is bounded while it is down.
MAX_TASKS = 1000

THREAD_NAME = "dataset-progress"


class Task(Protocol):
    """Something that makes requests. The thread calls its methods."""

    @property
    def is_over(self) -> bool:
        """Whether `step` is not to be called any more."""

    def due_in(self, quiet_seconds: float) -> float:
        """Return in how many seconds to call `step`. ``quiet_seconds``: how long the server wants no requests."""

    def step(self) -> None:
        """Do what is due, and raise nothing."""


class SenderThread:
    """Steps through its tasks, the one that is due first, and spaces their requests.

    ``has_warned``: whether an error of the server was logged.
    """

    def __init__(self) -> None:
        self.has_warned = False
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._tasks: list[Task] = []
        self._apis: dict[tuple[Server, int], Api] = {}
        self._thread: threading.Thread | None = None
        self._turns: deque[float] = deque(maxlen=REQUESTS_A_SECOND)
        self._quiet_until = 0.0

    # --- Called by jobs ----------------------------------------------------------------------------------------------

    def api(self, server: Server, transport: httpx.BaseTransport | None) -> Api:
        """Return the connection to the server that all its runs share."""
        key = server, id(transport)
        with self._lock:
            api = self._apis.get(key)
        if api is None:
            api = Api(server, transport)  # imports httpx in the caller's thread, without the lock
            with self._lock:
                api = self._apis.setdefault(key, api)
        return api

    def add(self, task: Task) -> None:
        """Step through ``task`` until it is over. Raises `RuntimeError` if that is not possible."""
        with self._lock:
            if len(self._tasks) >= MAX_TASKS:
                raise RuntimeError(f"{MAX_TASKS:,} runs wait for the server already")
            if self._thread is None:
                logging.getLogger("httpx").addFilter(_is_from_another_thread)
                thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
                thread.start()
                self._thread = thread
            self._tasks.append(task)
        self.wake()

    def wake(self) -> None:
        """Let the thread look again at what is due."""
        self._changed.set()

    # --- Called by tasks ---------------------------------------------------------------------------------------------

    def wait_for_turn(self) -> None:
        """Wait until another request makes no more than `REQUESTS_A_SECOND`."""
        if len(self._turns) == REQUESTS_A_SECOND:
            time.sleep(max(0.0, self._turns[0] + 1 - time.monotonic()))
        self._turns.append(time.monotonic())

    def keep_quiet(self, seconds: float) -> None:
        """Make no requests for ``seconds``, because the server wants none."""
        self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)

    def warn(self, error: Exception) -> None:
        """Log the first error that keeps reports from this server, and no others."""
        if not self.has_warned:
            self.has_warned = True
            logger.warning("progress is not reported: %s (the job goes on; further errors are not logged)", error)

    # -----------------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._next()) is not None:
            task.step()
            if task.is_over:
                with self._lock:
                    self._tasks.remove(task)

    def _next(self) -> Task | None:
        """Wait until a task is due, and return it. None if there are no tasks: then the thread ends."""
        while True:
            self._changed.clear()
            with self._lock:
                if not self._tasks:
                    self._thread = None
                    for api in self._apis.values():
                        api.close()
                    self._apis.clear()
                    return None
                tasks = list(self._tasks)
            quiet_seconds = max(0.0, self._quiet_until - time.monotonic())
            seconds, task = min(((task.due_in(quiet_seconds), task) for task in tasks), key=lambda pair: pair[0])
            if seconds <= 0:
                return task
            self._changed.wait(seconds)


_threads: dict[str, SenderThread] = {}  # by the server's address


def sender_thread(server: Server) -> SenderThread:
    """Return the thread of this process for a server."""
    return _threads.setdefault(server.url, SenderThread())


def _is_from_another_thread(record: logging.LogRecord) -> bool:
    """A log filter that drops httpx's line for each request of a sender."""
    return record.threadName != THREAD_NAME


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.clear)
