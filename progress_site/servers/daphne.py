"""`python -m progress_site.servers.daphne`: Daphne, with its options, for many clients that are told the same.

By itself, Twisted stores a frame, asks the loop to say when its socket can be written, writes, and takes that back
again, for every frame of every client; and it stores whatever a client does not take. Here a text that goes to many is
framed once, each client's socket is written at once, and who has not taken all of it makes the application wait. The
loop is uvloop's.
"""

import asyncio
from functools import lru_cache
from typing import Any

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # before Daphne makes its loop, when it is imported

from autobahn.websocket.protocol import PreparedMessage
from daphne import http_protocol, server
from daphne.cli import CommandLineInterface
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import tcp

from apps.live.limits import MAX_FRAME_BYTES
from apps.live.protocol import CLOSE_TOO_MANY

CLOSE_SECONDS = 10
# Messages of a client that the application has not come to.
MOST_WAITING = 256


class _Protocol(WebSocketProtocol):  # type: ignore[misc]
    """Writes at once where nothing waits to be written, and knows when something does."""

    idle: asyncio.Event  # set while nothing waits
    over_tcp = False

    def onConnect(self, request: Any) -> Any:
        self.idle = asyncio.Event()
        self.idle.set()
        self.over_tcp = isinstance(self.transport, tcp.Connection)  # and not over TLS
        if self.over_tcp:
            self.transport.unregisterProducer()  # the HTTP channel, whose connection it was
            self.transport.registerProducer(self, False)
        return super().onConnect(request)

    def resumeProducing(self) -> None:
        self.idle.set()

    def stopProducing(self) -> None:
        self.idle.set()

    def connectionLost(self, reason: Any) -> None:
        self._let_go()
        super().connectionLost(reason)

    def dropConnection(self, abort: bool = False) -> None:
        self._let_go()
        super().dropConnection(abort)

    def _let_go(self) -> None:
        """Whoever waits for the client to take something waits no more."""
        if hasattr(self, "idle"):
            self.idle.set()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN:
            return
        if self.application_queue.qsize() >= MOST_WAITING:
            self.serverClose(code=CLOSE_TOO_MANY)
        else:
            super().onMessage(payload, isBinary)

    def serverSend(self, content: Any, binary: bool = False) -> None:
        if binary or self.state != self.STATE_OPEN:
            super().serverSend(content, binary)
        else:
            self.sendPreparedMessage(_framed(content))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if self.over_tcp and self.transport.connected:
            if self.idle.is_set() and self.state == self.STATE_OPEN:
                written = self.transport.writeSomeData(data)
                if not isinstance(written, Exception):
                    data = data[written:]
                if not data:
                    return
            self.idle.clear()
        super().sendData(data, sync, chopsize)


class _Factory(WebSocketFactory):  # type: ignore[misc]
    """Gives a client time to answer a close. After the second that is the default, the connection is reset, and a
    client that is far away or busy loses the message that said why: the reset takes what it has not read yet.
    """

    protocol = _Protocol

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.setProtocolOptions(closeHandshakeTimeout=CLOSE_SECONDS)

    def setProtocolOptions(self, **options: Any) -> None:
        limits = {"maxFramePayloadSize": MAX_FRAME_BYTES, "maxMessagePayloadSize": MAX_FRAME_BYTES}
        super().setProtocolOptions(**{**options, **limits})


@lru_cache(maxsize=8)
def _framed(text: str) -> PreparedMessage:
    """A message with its header. The hub hands the same few texts to one client after the other."""
    return PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=False)


class _Request(http_protocol.WebRequest):  # type: ignore[misc]
    """Leaves forms to the application: Twisted would read each a second time, and answer one that it cannot read by
    itself, with nothing in it.
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


class _Server(Server):  # type: ignore[misc]
    """Makes an application wait for a client that does not take what it is sent."""

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if not isinstance(protocol, _Protocol):
            await super().handle_reply(protocol, message)
            return
        if protocol.state == protocol.STATE_OPEN and (text := message.get("text")):
            protocol.serverSend(text)  # the shortest way for what is sent most
        else:
            await super().handle_reply(protocol, message)
        if not protocol.idle.is_set() and protocol.state == protocol.STATE_OPEN:
            await protocol.idle.wait()


def main() -> None:
    """Serve as the command line says."""
    server.WebSocketFactory = _Factory  # Daphne has no options for these
    http_protocol.WebRequest = _Request
    CommandLineInterface.server_class = _Server
    CommandLineInterface.entrypoint()


if __name__ == "__main__":
    main()
