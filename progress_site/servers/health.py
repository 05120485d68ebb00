"""`/health/` for many: one request at a time asks the database, and those that come meanwhile share its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final

# A supervisor of the process asks for it.
HEALTH_PATH: Final = "/health/"
# How long the database may take. Whoever asks is then told that it does not answer.
WAIT_SECONDS: Final = 4.5
# Those that wait are answered so many at a time.
ANSWERED_AT_ONCE: Final = 2


Message = dict[str, Any]
NO_ANSWER: Final[list[Message]] = [
    {
        "type": "http.response.start",
        "status": 503,
        "headers": [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")],
    },
    {"type": "http.response.body", "body": b"no database"},
]


def is_health(scope: dict[str, Any]) -> bool:
    """Return whether a request asks for `/health/`."""
    return scope.get("path") == HEALTH_PATH and scope.get("method") in ("GET", "HEAD")


class SharedHealth:
    """ASGI middleware that asks the application for `/health/` once for all who wait for the same answer."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._application = application
        self._turn = asyncio.Lock()
        self._waiting: dict[Hashable, list[asyncio.Future[list[Message]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not is_health(scope):
            await self._application(scope, receive, send)
            return
        # What else the answer depends on: an unknown host is refused, and http may be redirected to https.
        wanted = (b"host", b"x-forwarded-proto")
        key = scope["method"], scope.get("scheme"), *(item for item in scope["headers"] if item[0] in wanted)
        answer: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        if key in self._waiting:
            self._waiting[key].append(answer)
        else:
            self._waiting[key] = [answer]
            task = asyncio.create_task(self._answer(key, scope))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            messages = await asyncio.wait_for(answer, WAIT_SECONDS)
        except TimeoutError:
            messages = NO_ANSWER
        for message in messages:
            await send(message)

    async def _answer(self, key: Hashable, scope: Any) -> None:
        """Answer all who wait, a few at a time, so that a crowd of them holds up nobody else."""
        try:
            messages = await self._ask(scope)
        except Exception as error:
            for answer in self._waiting.pop(key):
                if not answer.done():
                    answer.set_exception(error)
            return
        for number, answer in enumerate(self._waiting.pop(key), start=1):
            if not answer.done():  # it has not left, nor waited too long
                answer.set_result(messages)
            if number % ANSWERED_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _ask(self, scope: Any) -> list[Message]:
        """Return the messages of the application's answer. The question goes on when whoever asked has left."""
        messages: list[Message] = []
        is_asked = False

        async def receive() -> Message:
            nonlocal is_asked
            if is_asked:
                await asyncio.Event().wait()
            is_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            messages.append(message)

        async with self._turn:
            await self._application(scope, receive, send)
        return messages
