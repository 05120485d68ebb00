"""Threads that outlive a request, so that their database connections do too.

By default Django runs each request under ASGI in a new thread that ends with it. A database connection belongs to its
thread, so every request would open one: half a millisecond of processor time with SQLite, several with PostgreSQL,
which also limits how many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from django.db import connections

from progress_site.unavailable import unavailable

from .handler import Message
from .health import is_health
from .places import WRITE, Place, Places, kind_of, places
from .write_threads import WriteThreads

# Idle threads that are kept.
KEPT_THREADS: Final = 8


class RequestThreads:
    """ASGI application that answers each HTTP request in the thread that became idle last, or else in a new one.

    Requests that write have threads of their own. ``answer`` is called in the thread, with the scope and the body of a
    request, and returns the messages to send. A request that finds no place is answered with 503. All methods belong to
    the event loop's thread.
    """

    def __init__(self, answer: Callable[[Any, bytes], list[Message]]) -> None:
        self._answer = answer
        self._idle: list[ThreadPoolExecutor] = []
        self._places = Places()
        self._writes = WriteThreads(places()[WRITE])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]  # all of it: `Door` has received it
        messages = await self._messages(scope, body, receive)
        if messages is None:
            messages = _refusal(scope)
        for message in messages:
            await send(message)

    async def _messages(self, scope: Any, body: bytes, receive: Any) -> list[Message] | None:
        """Return the answer to a request; None where it found no place."""
        begin = partial(self._run, scope, body)
        # `/health/` is asked by one request at a time, and must not wait behind those that keep the process busy.
        if is_health(scope):
            return await begin(None)
        kind = kind_of(scope)
        if kind == WRITE:
            return await self._writes.run(partial(self._answer, scope, body), receive)
        running = await self._places.begin(kind, receive, begin)
        return None if running is None else await running

    def _run(self, scope: Any, body: bytes, place: Place | None) -> asyncio.Future[list[Message]]:
        """Begin to answer a request. The place is given back when the view has returned, also after a cancellation."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Message]] = loop.create_future()
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")

        def finish(work: Future[list[Message]]) -> None:
            self._keep_or_end(thread)  # before the place is released, so that whoever has it next has this thread
            if place is not None:
                if work.exception() is None and work.result()[0]["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
                    place.refuse_waiting()
                place.release()
            if answer.cancelled():
                return
            if (error := work.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(work.result())

        def tell_loop(work: Future[list[Message]]) -> None:
            with suppress(RuntimeError):  # the loop is closed, because the process is ending
                loop.call_soon_threadsafe(finish, work)

        try:
            thread.submit(self._answer, scope, body).add_done_callback(tell_loop)
        except RuntimeError:  # the system could not start the thread
            if place is not None:
                place.release()
            raise
        return answer

    def _keep_or_end(self, thread: ThreadPoolExecutor) -> None:
        if len(self._idle) < KEPT_THREADS:
            self._idle.append(thread)
        else:
            thread.submit(connections.close_all)
            thread.shutdown(wait=False)


def _refusal(scope: Any) -> list[Message]:
    response = unavailable(scope["path"], scope["method"])
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    headers.append((b"content-length", str(len(response.content)).encode()))
    return [
        {"type": "http.response.start", "status": response.status_code, "headers": headers},
        {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.content},
    ]
