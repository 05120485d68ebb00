"""Threads of requests that write. The next request begins in the thread whose request has just ended.

Handing on a place through the event loop would leave it empty for one round of the loop. With thousands of open pages a
round takes longer than a report.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from . import places
from .handler import Message

Answered = Future[list[Message]]


class WriteThreads:
    """Runs ``count`` requests at the same time. Others wait in the order in which they came."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="write")
        self._idle = count
        self._waiting: dict[Answered, Callable[[], list[Message]]] = {}
        self._lock = threading.Lock()

    async def run(
        self, answer: Callable[[], list[Message]], receive: Callable[[], Awaitable[Any]]
    ) -> list[Message] | None:
        """Return what ``answer()`` returns in a thread; None where it did not begin in time or the client has gone.

        ``receive`` returns once the client has gone. An answer that has begun goes on after a cancellation. Raises
        `RuntimeError` where the system cannot start a thread.
        """
        request = Answered()
        self._begin_or_wait(request, answer)
        answered = asyncio.wrap_future(request)
        # To cancel a request that has begun does nothing.
        too_long = asyncio.get_running_loop().call_later(places.WAIT_SECONDS, request.cancel)
        gone = asyncio.ensure_future(receive())
        gone.add_done_callback(lambda _: request.cancel())
        try:
            await asyncio.wait([answered])
        finally:
            answered.cancel()
            too_long.cancel()
            gone.cancel()
            with self._lock:
                self._waiting.pop(request, None)  # with its body
        return None if answered.cancelled() else answered.result()

    def _begin_or_wait(self, request: Answered, answer: Callable[[], list[Message]]) -> None:
        with self._lock:
            self._waiting[request] = answer
            if not self._idle:
                return
            self._idle -= 1
        try:
            self._threads.submit(self._work)
        except RuntimeError:
            with self._lock:
                self._idle += 1
                is_left = self._waiting.pop(request, None) is not None
            if is_left:  # else another thread has taken it
                raise

    def _work(self) -> None:
        """Answer one request after the other, until none waits."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._idle += 1
                    return
                request = next(iter(self._waiting))
                answer = self._waiting.pop(request)
            if request.set_running_or_notify_cancel():
                self._answer(request, answer)

    def _answer(self, request: Answered, answer: Callable[[], list[Message]]) -> None:
        try:
            messages = answer()
        except BaseException as error:
            request.set_exception(error)
            return
        if messages[0]["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
            # The database has just failed this one. Those that wait would wait for it as long again.
            with self._lock:
                refused, self._waiting = self._waiting, {}
            for other in refused:
                other.cancel()
        request.set_result(messages)
