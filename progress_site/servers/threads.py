"""Threads that outlive a request, so that their database connections do too.

By default Django runs each request under ASGI in a new thread that ends with it. A database connection belongs to its
thread, so every request would open one: half a millisecond of processor time with SQLite, several with PostgreSQL,
which also limits how many there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

from progress_site.unavailable import unavailable

from .health import is_health
from .places import Places

# Idle threads that are kept.
KEPT_THREADS: Final = 8


class RequestThreads:
    """ASGI middleware that runs each HTTP request in the thread that became idle last, or else in a new one.

    A request that finds no place is answered with 503.
    """

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._application = application
        self._idle: deque[Executor] = deque()
        self._places = Places()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # `/health/` is asked by one request at a time, and must not wait behind those that keep the process busy.
        places = [] if is_health(scope) else await self._places.take(scope)
        if places is None:
            await _refuse(scope, send)
            return

        async def send_on(message: Any) -> None:
            if message.get("status") == HTTPStatus.SERVICE_UNAVAILABLE:
                self._places.refuse_waiting()
            await send(message)

        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self._application(scope, receive, send_on)
        finally:
            # The thread itself releases the places: after a client has disconnected, the view may still be running.
            try:
                thread.submit(self._release, thread, places, asyncio.get_running_loop())
            except RuntimeError:  # the system could not start the thread
                for place in places:
                    place.release()
                raise

    def _release(self, thread: Executor, places: Sequence[asyncio.Semaphore], loop: asyncio.AbstractEventLoop) -> None:
        """Let the next requests begin, and keep this thread or end it. Runs in the thread, after the view."""
        for place in places:
            with suppress(RuntimeError):  # the loop is closed, because the process is ending
                loop.call_soon_threadsafe(place.release)
        if len(self._idle) < KEPT_THREADS:
            self._idle.append(thread)
        else:
            connections.close_all()
            thread.shutdown(wait=False)


async def _refuse(scope: Any, send: Any) -> None:
    response = unavailable(scope["path"], scope["method"])
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    headers.append((b"content-length", str(len(response.content)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.content})
