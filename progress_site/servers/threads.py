"""Threads that outlive a request, so that their database connections do too.

By default Django runs each request under ASGI in a new thread that ends with it. A database connection belongs to its
thread, so every request would open one: half a millisecond of processor time with SQLite, several with PostgreSQL,
which also limits how many there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

# Idle threads that are kept.
KEPT_THREADS: Final = 8
# Requests that run at the same time, each with a thread and a database connection. Others wait for their turn.
MAX_THREADS: Final = 32
# A supervisor of the process asks for it, and must not wait behind the requests that keep the process busy.
HEALTH_PATH: Final = "/health/"


class RequestThreads:
    """ASGI middleware that runs each HTTP request in the thread that became idle last, or else in a new one."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._application = application
        self._idle: deque[Executor] = deque()
        self._turns = asyncio.Semaphore(MAX_THREADS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        turns = None if scope.get("path") == HEALTH_PATH else self._turns
        if turns is not None:
            await turns.acquire()
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self._application(scope, receive, send)
        finally:
            # The thread itself releases its turn: after a client has disconnected, the view may still be running.
            try:
                thread.submit(self._release, thread, turns, asyncio.get_running_loop())
            except RuntimeError:  # the system could not start the thread
                if turns is not None:
                    turns.release()
                raise

    def _release(self, thread: Executor, turns: asyncio.Semaphore | None, loop: asyncio.AbstractEventLoop) -> None:
        """Let the next request begin, and keep this thread or end it. Runs in the thread, after the view."""
        if turns is not None:
            with suppress(RuntimeError):  # the loop is closed, because the process is ending
                loop.call_soon_threadsafe(turns.release)
        if len(self._idle) < KEPT_THREADS:
            self._idle.append(thread)
        else:
            connections.close_all()
            thread.shutdown(wait=False)
