"""Threads that outlive a request, and with them what they have opened: a connection to the database.

By itself Django runs each request of an ASGI server in a thread of its own, which ends with it. A connection is its
thread's, so every request would open one: half a millisecond of the processor with SQLite, and several with
PostgreSQL, which also has but so many of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

# Threads that are kept though nothing is asked of them. More come while more is asked for at once.
KEPT: Final = 8


class LastingThreads:
    """An ASGI application over HTTP, each of its requests in the thread that has been idle for the shortest time."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._application = application
        self._idle: deque[Executor] = deque()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self._application(scope, receive, send)
        finally:
            # It says itself that it is idle: where the client has gone away, the view may still be at work.
            thread.submit(self._rest, thread)

    def _rest(self, thread: Executor) -> None:
        if len(self._idle) < KEPT:
            self._idle.append(thread)
        else:
            connections.close_all()
            thread.shutdown(wait=False)
