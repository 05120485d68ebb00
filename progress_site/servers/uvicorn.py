"""Uvicorn, tuned for one message to many clients, and with limits where bytes come in.

`uvicorn --http progress_site.servers.uvicorn:Http --ws progress_site.servers.uvicorn:Protocol`

Plain Uvicorn frames a text for every client anew and buffers 64 KiB for a slow one. Here, as in
`progress_site.servers.daphne`, a text is framed once, and a slow client makes the application wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from apps.live.limits import MAX_FRAME_BYTES, may_send
from apps.live.protocol import CLOSE_TOO_MANY

from . import door

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from websockets.http11 import Request

# What is parsed at once, so that nothing is parsed in vain once a client has sent too much.
SLICE_BYTES = 4096
CLOSED_ABNORMALLY = 1006


class Http(HttpToolsProtocol):
    """Limits the size of a request, and how long a client takes to send it and to read the answer."""

    _header_bytes = 0  # that have come since the last request
    _body_bytes = 0
    _in_headers = True
    _discarded: int | None = None  # bytes since a request was refused
    _request_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # Uvicorn's own
        super().connection_made(transport)
        self._expect(door.REQUEST_SECONDS)

    def data_received(self, data: bytes) -> None:
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > door.LINGER_BYTES:
                self.transport.abort()
            return
        if self._in_headers and self._request_timer is None:
            self._expect(door.REQUEST_SECONDS)
        self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > door.MAX_HEADER_BYTES:
            self._refuse(431)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > door.MAX_HEADER_BYTES:
            self._refuse(414)

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > door.MAX_HEADER_BYTES:
            self._refuse(431)
        length = dict(self.headers).get(b"content-length", b"")
        if length.isdigit() and int(length) > door.MAX_BODY_BYTES:
            self._refuse(413)
        if self._discarded is None:
            self._in_headers, self._body_bytes = False, 0
            self._expect(door.BODY_SECONDS)
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > door.MAX_BODY_BYTES:
            self._refuse(413)
        if self._discarded is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._discarded is None:
            self._in_headers, self._header_bytes = True, 0
            self._expect(None)
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if self._discarded is None:
            self._expect(None)
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        """Answer with a refusal, read on for a while without keeping anything, and close."""
        if self._discarded is not None or self.transport.is_closing():
            return
        self._discarded = 0
        self.flow.resume_reading()
        if self.cycle is not None:
            self.cycle.disconnected = True  # for the application, which may wait for the rest of the body
            self.cycle.message_event.set()
        headers, body = door.refusal(status, self.url.decode("latin-1") if self.scope else "")
        head = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        head += [name + b": " + value for name, value in [*headers, (b"date", formatdate(usegmt=True).encode())]]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expect(door.LINGER_SECONDS)

    def _expect(self, seconds: float | None) -> None:
        """End the connection after ``seconds``, unless this is called again before."""
        if self._request_timer is not None:
            self._request_timer.cancel()
        self._request_timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(door.STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect(None)
        if self._stall_timer is not None:
            self._stall_timer.cancel()


class Protocol(WebSocketsSansIOProtocol):
    """Writes frames that many clients share, and buffers at most one that a client has not read."""

    is_flooding = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # No extensions: a frame that is compressed for one client cannot be sent to another.
        self.conn = ServerProtocol(max_size=MAX_FRAME_BYTES, logger=self.logger)
        self.sender = object()  # stands for this connection where its messages and control frames are counted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if self.is_flooding or self.conn.parser_exc is not None:
                return
            super().data_received(data[start : start + SLICE_BYTES])

    def handle_parser_exception(self) -> None:
        """Send the Close frame, and read on for a while: a connection that is closed at once can lose the frame."""
        code = self.conn.close_sent.code if self.conn.close_sent is not None else CLOSED_ABNORMALLY
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(door.LINGER_SECONDS, self.transport.abort)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.scope["sender"] = self.sender  # type: ignore[typeddict-unknown-key]  # our own

    def handle_ping(self) -> None:
        self._count_control_frame(super().handle_ping)

    def handle_pong(self, event: Frame) -> None:
        self._count_control_frame(lambda: super(Protocol, self).handle_pong(event))

    def _count_control_frame(self, handle: Callable[[], None]) -> None:
        if may_send(self.sender):
            handle()
        elif not self.close_sent and self.conn.state is OPEN:
            self.is_flooding = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CLOSE_TOO_MANY})
            self.conn.send_close(CLOSE_TOO_MANY)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def shutdown(self) -> None:
        super().shutdown()
        self._abort_slow_client()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_slow_client()

    def _abort_slow_client(self) -> None:
        """Drop what a slow client has not read: a closed transport would wait for it, perhaps for ever."""
        if not self.writable.is_set():
            self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        text = message.get("text")
        if not isinstance(text, str) or self.conn.state is not OPEN or self.disconnected:
            await super().send(message)
            return
        self.transport.write(_frame(text))
        if not self.writable.is_set():
            await self.writable.wait()


@lru_cache(maxsize=8)
def _frame(text: str) -> bytes:
    """Return a text as a frame. Cached, because the hub sends the same few texts to one client after the other."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
