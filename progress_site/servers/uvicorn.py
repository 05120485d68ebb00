"""`uvicorn --ws progress_site.servers.uvicorn:Protocol`: Uvicorn, tuned for one message to many clients.

Plain Uvicorn frames a text for every client anew and buffers 64 KiB for a slow one. Here, as in
`progress_site.servers.daphne`, a text is framed once, and a slow client makes the application wait.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from apps.live.limits import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent


class Protocol(WebSocketsSansIOProtocol):
    """Writes frames that many clients share, and buffers at most one that a client has not read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # No extensions: a frame that is compressed for one client cannot be sent to another.
        self.conn = ServerProtocol(max_size=MAX_FRAME_BYTES, logger=self.logger)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(0)

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
