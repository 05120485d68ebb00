"""What no request may exceed, and the ASGI middleware that stands before the threads of requests.

`progress_site.servers.daphne_http` and `progress_site.servers.uvicorn` hold the same limits where bytes come in, before
there is a request. The middleware holds those on bodies under any server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Any, BinaryIO, Final

# A larger body is refused with 413, before anything looks at it.
MAX_BODY_BYTES: Final = 3_000_000
# How many bodies of more than a report's size are in memory at the same time. Others are told 503.
MAX_LARGE_BODIES: Final = 10
LARGE_BODY_BYTES: Final = 64 * 1024
# The request line and the headers together.
MAX_HEADER_BYTES: Final = 16 * 1024
# From a connection, or from the end of the last request, to the end of a request's headers; and from there to its end.
REQUEST_SECONDS = 20.0
BODY_SECONDS: Final = 60.0
# A client takes at least one buffer (64 KiB) in this time, or loses its connection.
STALL_SECONDS = 60.0
# A refused client may go on sending for a while: a connection that is closed at once can lose the answer.
LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 16_000_000
# What is read of a file at once.
CHUNK_BYTES: Final = 64 * 1024

CODES: Final = {400: "malformed", 413: "too_large", 414: "too_large", 431: "too_large", 503: "unavailable"}
DETAILS: Final = {
    413: f"A request body may have at most {MAX_BODY_BYTES} bytes.",
    431: f"The headers of a request may have at most {MAX_HEADER_BYTES} bytes.",
    503: "Too many large requests at once. Try again later.",
}

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

# Files are read here, so that a disk that hangs holds up no request.
_readers: Final = ThreadPoolExecutor(4, thread_name_prefix="file")


def refusal(status: int, path: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of a refusal: JSON where ``path`` is the API's, else a line of text."""
    detail = DETAILS.get(status) or f"{HTTPStatus(status).phrase}."
    if path.startswith("/api/"):
        content_type, body = b"application/json", json.dumps({"detail": detail, "code": CODES[status]}).encode()
    else:
        content_type, body = b"text/plain; charset=utf-8", detail.encode()
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    return [*headers, (b"retry-after", b"1")] if status == 503 else headers, body


class LargeBodies:
    """Counts the large bodies in memory."""

    def __init__(self) -> None:
        self._count = 0

    def enter(self) -> bool:
        """Return whether there was room for one more, which is then counted."""
        if self._count >= MAX_LARGE_BODIES:
            return False
        self._count += 1
        return True

    def leave(self) -> None:
        self._count -= 1


class Refused(Exception):
    """A request is refused."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Door:
    """ASGI middleware: a body comes in before the application is called, and an answer goes out after it has returned.

    So a slow client holds none of the threads of requests. The application may hand over an open file, as
    ``scope["hand_over"](file, length)``: its bytes are sent as the body of the answer, no faster than the client reads.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._large_bodies = LargeBodies()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = _Body(self._large_bodies)
        try:
            if not await body.read(scope, receive):
                return
            await self._answer(scope, body, receive, send)
        except Refused as refused:
            await _refuse(refused.status, scope["path"], receive, send)
        finally:
            body.close()

    async def _answer(self, scope: Any, body: _Body, receive: Any, send: Any) -> None:
        request = [{"type": "http.request", "body": body.bytes(), "more_body": False}]
        answer: list[dict[str, Any]] = []
        files: list[tuple[BinaryIO, int]] = []

        async def receive_body() -> Any:
            return request.pop() if request else await receive()

        async def keep(message: dict[str, Any]) -> None:
            answer.append(message)

        scope["hand_over"] = lambda file, length: files.append((file, length))
        try:
            await self._application(scope, receive_body, keep)
            request.clear()
            body.close()  # its place is free while the answer goes out
            if files and answer and answer[0]["status"] in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                await send(answer[0])
                await _send_file(*files[-1], receive, send)
                return
            answer.reverse()
            while answer:
                await send(answer.pop())
        finally:
            for file, _ in files:
                file.close()


class _Body:
    """The body of a request."""

    def __init__(self, large_bodies: LargeBodies) -> None:
        self._large_bodies = large_bodies
        self._parts: list[bytes] = []
        self._is_large = False

    async def read(self, scope: Any, receive: Any) -> bool:
        """Receive all of it. Returns False where the client went away, and raises `Refused`."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            raise Refused(413)
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                raise Refused(413)
            if size > LARGE_BODY_BYTES and not self._is_large:
                self._is_large = self._large_bodies.enter()
                if not self._is_large:
                    raise Refused(503)
            self._parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return True

    def bytes(self) -> bytes:
        """Return it, once."""
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def close(self) -> None:
        self._parts = []
        if self._is_large:
            self._is_large = False
            self._large_bodies.leave()


async def _refuse(status: int, path: str, receive: Any, send: Any) -> None:
    """Answer, and let go of what the client still sends before the connection is closed."""
    headers, body = refusal(status, path)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    left, more = LINGER_BYTES, True
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0 and more:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)
    await send({"type": "http.response.body"})


async def _send_file(file: BinaryIO, length: int, receive: Any, send: Any) -> None:
    """Send ``length`` bytes of a file. Raises `EOFError` where it has become shorter."""
    loop = asyncio.get_running_loop()
    gone = asyncio.ensure_future(receive())  # what comes after a request is that its client is gone
    try:
        while length > 0 and not gone.done():
            chunk = await loop.run_in_executor(_readers, file.read, min(length, CHUNK_BYTES))
            if not chunk:
                raise EOFError("A file has become shorter while it was sent.")
            length -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": length > 0})
    finally:
        gone.cancel()
