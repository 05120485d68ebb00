"""Threads that outlive a request, and with them what they have opened: a connection to the database.

By itself Django runs each request of an ASGI server in a thread of its own, which ends with it. A connection is its
thread's, so every request would open one: half a millisecond of the processor with SQLite, and several with
PostgreSQL, which also has but so many of them.
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

# Threads that are kept though nothing is asked of them. More come while more is asked for at once, up to so many, each
# with a connection to the database, which has but so many: what comes then waits for its turn.
KEPT: Final = 8
MOST: Final = 32
# Asked by whoever watches over the process, who is not to wait behind what keeps it busy.
HEALTH: Final = "/health/"


class LastingThreads:
    """An ASGI application over HTTP, each of its requests in the thread that has been idle for the shortest time."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._application = application
        self._idle: deque[Executor] = deque()
        self._turns = asyncio.Semaphore(MOST)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        turns = None if scope.get("path") == HEALTH else self._turns
        if turns is not None:
            await turns.acquire()
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self._application(scope, receive, send)
        finally:
            # It says itself that it is idle: where the client has gone away, the view may still be at work.
            try:
                thread.submit(self._rest, thread, turns, asyncio.get_running_loop())
            except RuntimeError:  # it was never started, since no thread can be
                if turns is not None:
                    turns.release()
                raise

    def _rest(self, thread: Executor, turns: asyncio.Semaphore | None, loop: asyncio.AbstractEventLoop) -> None:
        if turns is not None:
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(turns.release)
        if len(self._idle) < KEPT:
            self._idle.append(thread)
        else:
            connections.close_all()
            thread.shutdown(wait=False)
