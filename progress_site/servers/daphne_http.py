"""HTTP under Daphne: the limits of `door` where bytes come in, answers to what cannot be read, and backpressure.

Twisted stores a body of any size in a file before it calls anyone, drops what exceeds its own limits without an answer,
and stores all that a client does not read.
"""

from __future__ import annotations

import asyncio
from functools import partial
from io import BytesIO
from typing import Any, Final

from daphne import http_protocol
from twisted.internet import tcp
from twisted.protocols import basic
from twisted.web import http
from twisted.web.http import datetimeToString  # `http` is a proxy, whose attributes take ten times as long

from apps.live.limits import are_handshakes_full

from . import door
from .newcomers import Newcomers
from .wire import answer_bytes

_large_bodies: Final = door.LargeBodies()


class Transport(tcp.Server):
    """A connection of a client. Until its first request was answered, what it sends is read when it is its turn."""

    _is_its_turn = _is_waiting = False

    def doRead(self) -> Any:
        is_new = isinstance(self.protocol, Channel) and self.protocol.is_new
        if self._is_its_turn or not is_new:
            return super().doRead()
        self.stopReading()
        if not self._is_waiting:
            self._is_waiting = True
            _newcomers.add(self)
        return None

    def take_turn(self) -> None:
        """Read what has come in, unless the connection has ended meanwhile."""
        self._is_waiting = False
        if self.connected:
            self._is_its_turn = True
            self.startReading()
            self.reactor._readOrWrite(self, True)  # what the event loop calls: it also ends connections that fail
            self._is_its_turn = False

    def write_at_once(self, data: bytes) -> None:
        """Write to the socket where nothing is buffered, without a turn of the event loop; else to the buffer."""
        if self.connected and not self.disconnecting and not self.dataBuffer and not self._tempDataBuffer:
            data = write_some(self, data)
        if data:
            self.write(data)


_newcomers: Final = Newcomers(Transport.take_turn)


def write_some(connection: tcp.Connection, data: bytes) -> bytes:
    """Write as much as the socket takes now, past the buffer, which has to be empty. Returns the rest."""
    written = connection.writeSomeData(data)
    return data if isinstance(written, Exception) else data[written:]


class Channel(http.HTTPChannel):
    """A connection: refuses a request as soon as it exceeds a limit, and lets a client finish sending."""

    totalHeadersSize = MAX_LENGTH = door.MAX_HEADER_BYTES
    transport: Any
    is_refused = False
    is_new = True  # until a request was answered
    _discarded = 0
    _linger: Any = None
    _is_poll_waiting = False  # for its answer
    _pipelined = b""  # what has come after it

    def dataReceived(self, data: bytes) -> None:
        if self._is_poll_waiting:
            self._pipelined += data
            self.transport.pauseProducing()
            return
        if not self.is_refused:
            if not self._answer_poll(data):
                basic.LineReceiver.dataReceived(self, data)  # it does not start the time limit anew, as Twisted would
            return
        self._discarded += len(data)
        if self._discarded > door.LINGER_BYTES:
            self.transport.abortConnection()

    def _answer_poll(self, data: bytes) -> bool:
        """Answer a poll past Twisted's parser, where no other request is being read or answered. Returns whether."""
        is_between_requests = self.line_mode and not self.requests and not self._buffer and self.persistent
        if not is_between_requests or not isinstance(self.transport, Transport):
            return False
        polls = self.factory.polls
        scope = polls.read(data, self.transport.client)
        if scope is None:
            return False
        if (answer := polls.answer_at_once(scope)) is not None:
            self._write_answer(answer)
        elif polls.answer_later(scope, partial(self._answer_later, data)):
            self._is_poll_waiting = True
            self.resetTimeout()
        else:
            return False
        return True

    def _answer_later(self, data: bytes, answer: bytes | None) -> None:
        """Answer a poll that has waited, and go on with what has come in meanwhile."""
        self._is_poll_waiting = False
        if not self.transport.connected:
            return
        try:
            if answer is None:
                basic.LineReceiver.dataReceived(self, data)
            else:
                self._write_answer(answer)
            if self._pipelined:
                data, self._pipelined = self._pipelined, b""
                if not self._waitingForTransport:
                    self.transport.resumeProducing()
                self.dataReceived(data)
        except Exception:
            self.transport.abortConnection()  # as the event loop ends a connection whose bytes cannot be read
            raise

    def _write_answer(self, answer: bytes) -> None:
        self.is_new = False
        self.resetTimeout()
        self.transport.write_at_once(answer)

    def lineReceived(self, line: bytes) -> bool:
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            return self.lineLengthExceeded(line)
        super().lineReceived(line)
        return self.is_refused  # true ends the reading

    def lineLengthExceeded(self, line: bytes) -> bool:
        return self.refuse(431 if hasattr(self, "_command") else 414)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(431 if self._receivedHeaderCount > self.maxHeaders else 400)

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if not self.is_refused:
            self.setTimeout(door.BODY_SECONDS)

    def allContentReceived(self) -> None:
        if not self.is_refused:
            self.setTimeout(door.REQUEST_SECONDS)  # what holds again after this request
            super().allContentReceived()

    def _send100Continue(self) -> None:
        if not self.is_refused:
            super()._send100Continue()

    def requestDone(self, request: Any) -> None:
        self.is_new = False
        super().requestDone(request)

    def refuse(self, status: int) -> bool:
        """Answer with a refusal, read on for a while without keeping anything, and close. Returns True."""
        if not self.is_refused:
            self.is_refused = True
            self.setTimeout(None)
            headers, body = door.refusal(status, getattr(self, "_path", b"").decode("latin-1"))
            start = {"status": status, "headers": [(name.title(), value) for name, value in headers]}
            self.transport.write(answer_bytes([start, {"body": body}]))
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()
            self._linger = self.callLater(door.LINGER_SECONDS, self.transport.abortConnection)
        return True

    def connectionLost(self, reason: Any = None) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        super().connectionLost(reason)


class Factory(http_protocol.HTTPFactory):  # type: ignore[misc]  # daphne has no types
    protocol = Channel

    def __init__(self, server: Any) -> None:
        from .daphne_polls import DaphnePolls  # here, because Django is set up when the application is loaded

        super().__init__(server)
        self.timeOut = door.REQUEST_SECONDS
        self.polls = DaphnePolls(server)


class Request(http_protocol.WebRequest):  # type: ignore[misc]  # daphne has no types
    """A request: keeps its body in memory, counts it while it comes, and knows when its client reads.

    It hides the content type from Twisted, so that only the application parses forms. Twisted would parse each form as
    well, and answer one that it cannot parse with an empty response of its own.
    """

    content_type: list[bytes] | None = None
    _is_large = False
    _stall: Any = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        super().__init__(*args, **options)

    # The body.

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > door.MAX_BODY_BYTES:
            self.channel.refuse(413)

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel.is_refused:
            return
        size = self.content.tell() + len(data)
        if size > door.LARGE_BODY_BYTES and not self._is_large:
            self._is_large = _large_bodies.enter()
        if size > door.MAX_BODY_BYTES or (size > door.LARGE_BODY_BYTES and not self._is_large):
            self.content = BytesIO()
            self.channel.refuse(413 if size > door.MAX_BODY_BYTES else 503)
            self._forget_body()
        else:
            self.content.write(data)

    def _forget_body(self) -> None:
        if self._is_large:
            self._is_large = False
            _large_bodies.leave()

    def requestReceived(self, *args: Any) -> None:
        self.content_type = self.requestHeaders.getRawHeaders(b"content-type")
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(*args)

    def process(self) -> None:
        if self.content_type is not None:
            self.requestHeaders.setRawHeaders(b"content-type", self.content_type)
        if are_handshakes_full() and b"websocket" in self.requestHeaders.getRawHeaders(b"upgrade", []):
            self.channel.refuse(503)  # before anything is made for a socket
            return
        super().process()
        if self.transport is None:  # it became a WebSocket
            self._forget_body()

    # The answer.

    def handle_reply(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and not self.finished and self.channel is not None:
            self.setHeader(b"date", datetimeToString())
            if self.producer is None:
                self.registerProducer(self, True)
        super().handle_reply(message)

    def handle_exception(self, exception: BaseException) -> None:
        if self._response_started:
            self.channel.forceAbortClient()  # the client sees that the answer is not whole
        else:
            super().handle_exception(exception)

    def pauseProducing(self) -> None:
        if self.writable.is_set():
            self.writable.clear()
            self._stall = self.channel.callLater(door.STALL_SECONDS, self.channel.forceAbortClient)

    def resumeProducing(self) -> None:
        self.writable.set()
        if self._stall is not None and self._stall.active():
            self._stall.cancel()

    def stopProducing(self) -> None:
        self.resumeProducing()

    def finish(self) -> None:
        self.resumeProducing()
        if self.producer is not None:
            self.unregisterProducer()
        super().finish()
        self._forget_body()

    def connectionLost(self, reason: Any) -> None:
        self.resumeProducing()
        self.producer = None
        super().connectionLost(reason)
        self._forget_body()
