"""`python -m progress_site.servers.daphne`: Daphne with all its options, tuned for one message to many clients.

For every frame of every client, plain Twisted stores the frame, asks the event loop when the socket is writable,
writes, and takes that request back; it also stores everything that a slow client does not read. Here a text that goes
to many clients is framed once and written at once, and a slow client makes the application wait. The event loop is
uvloop's.
"""

import asyncio
from functools import lru_cache
from typing import Any

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # Daphne creates its loop when it is imported

from autobahn.websocket.protocol import PreparedMessage
from daphne import http_protocol, server
from daphne.cli import CommandLineInterface
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import tcp

from apps.live.limits import MAX_FRAME_BYTES
from apps.live.protocol import CLOSE_TOO_MANY

CLOSE_TIMEOUT_SECONDS = 10
# Messages of one client that the application has not read yet.
MAX_QUEUED_MESSAGES = 256


class _Protocol(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """Writes to the socket at once where nothing is buffered, and knows when the buffer is empty."""

    drained: asyncio.Event  # set while nothing is buffered
    is_plain_tcp = False

    def onConnect(self, request: Any) -> Any:
        self.drained = asyncio.Event()
        self.drained.set()
        self.is_plain_tcp = isinstance(self.transport, tcp.Connection)  # and not over TLS
        if self.is_plain_tcp:
            self.transport.unregisterProducer()  # the HTTP channel, which owned the connection
            self.transport.registerProducer(self, False)
        return super().onConnect(request)

    def resumeProducing(self) -> None:
        self.drained.set()

    def stopProducing(self) -> None:
        self.drained.set()

    def connectionLost(self, reason: Any) -> None:
        self._release_sender()
        super().connectionLost(reason)

    def dropConnection(self, abort: bool = False) -> None:
        self._release_sender()
        super().dropConnection(abort)

    def _release_sender(self) -> None:
        """Stop waiting for a client that will read nothing more."""
        if hasattr(self, "drained"):
            self.drained.set()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN:
            return
        if self.application_queue.qsize() >= MAX_QUEUED_MESSAGES:
            self.serverClose(code=CLOSE_TOO_MANY)
        else:
            super().onMessage(payload, isBinary)

    def serverSend(self, content: Any, binary: bool = False) -> None:
        if binary or self.state != self.STATE_OPEN:
            super().serverSend(content, binary)
        else:
            self.sendPreparedMessage(_frame(content))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if self.is_plain_tcp and self.transport.connected:
            if self.drained.is_set() and self.state == self.STATE_OPEN:
                written = self.transport.writeSomeData(data)
                if not isinstance(written, Exception):
                    data = data[written:]
                if not data:
                    return
            self.drained.clear()
        super().sendData(data, sync, chopsize)


class _Factory(WebSocketFactory):  # type: ignore[misc]  # daphne has no types
    """Gives a client more than the default second to answer a close, and limits the size of its messages.

    At the timeout the connection is reset. A client that is far away or busy then loses the error message that came
    before the close, because a reset discards what it has not read yet.
    """

    protocol = _Protocol

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.setProtocolOptions(closeHandshakeTimeout=CLOSE_TIMEOUT_SECONDS)

    def setProtocolOptions(self, **options: Any) -> None:
        limits = {"maxFramePayloadSize": MAX_FRAME_BYTES, "maxMessagePayloadSize": MAX_FRAME_BYTES}
        super().setProtocolOptions(**{**options, **limits})


@lru_cache(maxsize=8)
def _frame(text: str) -> PreparedMessage:
    """Return a text as a frame. Cached, because the hub sends the same few texts to one client after the other."""
    return PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=False)


class _Request(http_protocol.WebRequest):  # type: ignore[misc]  # daphne has no types
    """Hides the content type from Twisted, so that only the application parses forms.

    Twisted would parse each form as well, and answer one that it cannot parse with an empty response of its own.
    """

    content_type: list[bytes] | None = None

    def requestReceived(self, *args: Any) -> None:
        self.content_type = self.requestHeaders.getRawHeaders(b"content-type")
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(*args)

    def process(self) -> None:
        if self.content_type is not None:
            self.requestHeaders.setRawHeaders(b"content-type", self.content_type)
        super().process()


class _Server(Server):  # type: ignore[misc]  # daphne has no types
    """Makes the application wait for a client that does not read what it is sent."""

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if not isinstance(protocol, _Protocol):
            await super().handle_reply(protocol, message)
            return
        if protocol.state == protocol.STATE_OPEN and (text := message.get("text")):
            protocol.serverSend(text)  # a shortcut for most messages
        else:
            await super().handle_reply(protocol, message)
        if not protocol.drained.is_set() and protocol.state == protocol.STATE_OPEN:
            await protocol.drained.wait()


def main() -> None:
    """Serve as the command line says."""
    server.WebSocketFactory = _Factory  # Daphne has no options for these
    http_protocol.WebRequest = _Request
    CommandLineInterface.server_class = _Server
    CommandLineInterface.entrypoint()


if __name__ == "__main__":
    main()
