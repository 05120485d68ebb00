"""`python -m progress_site.servers.daphne`: Daphne with all its options, tuned for one message to many clients.

For every frame of every client, plain Twisted stores the frame, asks the event loop when the socket is writable,
writes, and takes that request back; it also stores everything that a slow client does not read. Here a text that goes
to many clients is framed once and written at once, and a slow client makes the application wait. The event loop is
uvloop's.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import uvloop

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # Daphne creates its loop when it is imported

from autobahn.websocket import protocol as autobahn_protocol
from autobahn.websocket.protocol import PreparedMessage
from daphne import cli, http_protocol, server
from daphne.cli import CommandLineInterface
from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import tcp
from twisted.web.http import datetimeToString

from apps.live.limits import MAX_FRAME_BYTES, may_send
from apps.live.protocol import CLOSE_TOO_MANY
from progress_site.servers import daphne_http

CLOSE_TIMEOUT_SECONDS = 10
# Connections that the kernel keeps until they are accepted. When they are, handshakes are served or refused at once.
BACKLOG = 1024
# Connections that are accepted before those that are open have their turn. Twisted accepts ever more of a crowd.
ACCEPTED_AT_ONCE = 64
# Messages of one client that the application has not read yet.
MAX_QUEUED_MESSAGES = 256
# What is parsed at once, so that nothing is parsed in vain once a client has sent too much.
SLICE_BYTES = 4096


class _Protocol(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """Writes to the socket at once where nothing is buffered, and knows when the buffer is empty."""

    drained: asyncio.Event  # set while nothing is buffered
    is_plain_tcp = False
    last_ping: float
    is_flooding = False

    def __init__(self) -> None:
        super().__init__()
        self.sender = object()  # stands for this connection where its messages and control frames are counted

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
        # They refer to this protocol, and would keep it until the next collection of garbage.
        self.is_open = self.is_closed = None

    def dropConnection(self, abort: bool = False) -> None:
        self._release_sender()
        super().dropConnection(abort)

    def _release_sender(self) -> None:
        """Stop waiting for a client that will read nothing more."""
        if hasattr(self, "drained"):
            self.drained.set()

    def dataReceived(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if not self.is_flooding:
                super().dataReceived(data[start : start + SLICE_BYTES])

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN:
            return
        if self.application_queue.qsize() >= MAX_QUEUED_MESSAGES:
            self._close_flooding()
        else:
            last_ping = self.last_ping
            super().onMessage(payload, isBinary)
            self.last_ping = last_ping  # Daphne would not ping a client that sends

    def onPing(self, payload: bytes) -> None:
        self._count_control_frame()
        super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        self._count_control_frame()

    def _count_control_frame(self) -> None:
        if self.state == self.STATE_OPEN and not may_send(self.sender):
            self._close_flooding()

    def _close_flooding(self) -> None:
        """Close, and read nothing more; the time limit of the close ends the connection."""
        self.serverClose(code=CLOSE_TOO_MANY)
        self.is_flooding = True

    def _sendAutoPing(self) -> None:
        if not self.autoPingPending:  # else the time limit of the last one would never be lifted
            super()._sendAutoPing()

    def refuse(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Answer the handshake with an HTTP status, and close the connection."""
        if self.state == self.STATE_CONNECTING:
            named = [(name.decode().title(), value.decode()) for name, value in headers if name != b"content-length"]
            self.failHandshake(HTTPStatus(status).phrase, status, named)
            self.server.protocol_disconnected(self)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        headers = [("Date", datetimeToString().decode()), ("Content-Length", "0"), ("Connection", "close")]
        super().sendHttpErrorResponse(code, reason, [*(responseHeaders or ()), *headers])

    def serverSend(self, content: Any, binary: bool = False) -> None:
        if binary or self.state != self.STATE_OPEN:
            super().serverSend(content, binary)
        else:
            self.sendPreparedMessage(_frame(content))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if self.is_plain_tcp and self.transport.connected:
            if self.drained.is_set() and self.state == self.STATE_OPEN:
                data = daphne_http.write_some(self.transport, data)
                if not data:
                    return
            self.drained.clear()
        super().sendData(data, sync, chopsize)


class _Factory(WebSocketFactory):  # type: ignore[misc]  # daphne has no types
    """Limits the size of messages, and closes connections as RFC 6455 says: with a Close frame, and its code echoed.

    A client gets more than the default second to answer a close. At the timeout the connection is reset. A client that
    is far away or busy then loses the error message that came before the close, because a reset discards what it has
    not read yet.
    """

    protocol = _Protocol

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.setProtocolOptions(
            closeHandshakeTimeout=CLOSE_TIMEOUT_SECONDS,
            failByDrop=False,
            echoCloseCodeReason=True,
            autoPingRestartOnAnyTraffic=False,  # that a client sends does not say that it reads
        )

    def setProtocolOptions(self, **options: Any) -> None:
        limits = {"maxFramePayloadSize": MAX_FRAME_BYTES, "maxMessagePayloadSize": MAX_FRAME_BYTES}
        super().setProtocolOptions(**{**options, **limits})


@lru_cache(maxsize=8)
def _frame(text: str) -> PreparedMessage:
    """Return a text as a frame. Cached, because the hub sends the same few texts to one client after the other."""
    return PreparedMessage(text.encode(), isBinary=False, applyMask=False, doNotCompress=False)


class _Server(Server):  # type: ignore[misc]  # daphne has no types
    """Makes the application wait for a client that does not read what it is sent."""

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if isinstance(protocol, _Protocol):
            scope["sender"] = protocol.sender
            scope["has_left"] = lambda: bool(self.connections.get(protocol, {}).get("disconnected"))
            scope["extensions"] = {"websocket.http.response": {}}
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if not isinstance(protocol, _Protocol):
            await super().handle_reply(protocol, message)
            await protocol.writable.wait()
            return
        if protocol.state == protocol.STATE_OPEN and (text := message.get("text")):
            protocol.serverSend(text)  # a shortcut for most messages
        elif message["type"] == "websocket.http.response.start":
            protocol.refuse(message["status"], message["headers"])
        elif message["type"] != "websocket.http.response.body":
            await super().handle_reply(protocol, message)
        if not protocol.drained.is_set() and protocol.state == protocol.STATE_OPEN:
            await protocol.drained.wait()


def _unformatted(options: Any, **how: Any) -> Any:
    return options


def _endpoints(*args: Any, **options: Any) -> list[str]:
    """Return the addresses that the command line names, as Twisted describes them, with our backlog."""
    described: list[str] = build_endpoint_description_strings(*args, **options)
    return [f"{one}:backlog={BACKLOG}" if one.startswith("tcp:") else one for one in described]


def main() -> None:
    """Serve as the command line says."""
    server.WebSocketFactory = _Factory  # Daphne has no options for these
    server.HTTPFactory = daphne_http.Factory
    http_protocol.WebRequest = daphne_http.Request
    # It formats all options of each connection for a line of the log that is hardly ever written.
    autobahn_protocol.pformat = _unformatted  # type: ignore[attr-defined,assignment]  # autobahn has no option
    tcp.Port.transport = daphne_http.Transport
    always = property(lambda port: ACCEPTED_AT_ONCE, lambda port, count: None)
    tcp.Port.numberAccepts = always  # type: ignore[assignment]  # Twisted would set it anew
    cli.build_endpoint_description_strings = _endpoints
    CommandLineInterface.server_class = _Server
    CommandLineInterface.entrypoint()


if __name__ == "__main__":
    main()
