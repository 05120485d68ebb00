"""`uvicorn --ws progress_site.servers.uvicorn:Protocol`: Uvicorn, for many clients that are told the same.

By itself, Uvicorn frames a text for every client anew, and stores 64 KiB for one that does not take it. Here, as under
`progress_site.servers.daphne`, a text is framed once, and who has not taken all of it makes the application wait.
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
    """Writes what many are sent as it is, and holds one frame at most that a client has not taken."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Without extensions: what is compressed for one client is of no use to another.
        self.conn = ServerProtocol(max_size=MAX_FRAME_BYTES, logger=self.logger)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(0)

    def shutdown(self) -> None:
        super().shutdown()
        self._let_go()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._let_go()

    def _let_go(self) -> None:
        """A transport that is closed waits for its client to take what is left, which may be for ever."""
        if not self.writable.is_set():
            self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        text = message.get("text")
        if not isinstance(text, str) or self.conn.state is not OPEN or self.disconnected:
            await super().send(message)
            return
        self.transport.write(_framed(text))
        if not self.writable.is_set():
            await self.writable.wait()


@lru_cache(maxsize=8)
def _framed(text: str) -> bytes:
    """A text frame. The hub hands the same few texts to one client after the other."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
