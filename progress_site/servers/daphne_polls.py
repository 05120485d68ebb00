"""Polls under Daphne, from the bytes of a request to those of the answer.

Twisted's parser, request and buffers take several times as long as an answer from memory. Whatever is unusual about a
request is left to them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from daphne.utils import parse_x_forwarded_for

from . import door
from .handler import Message
from .polls import POLL, Poll, current_answers, is_caller_known, read_poll
from .wire import answer_bytes

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
# Called with an answer, or with None: then Twisted has to read the request.
Reply = Callable[[bytes | None], None]

# One whole request without a body. A name with an underscore could pose as another one, so none is taken here.
_REQUEST: Final = re.compile(
    rb"GET (/(?:api/)?datasets/[!-~]+) HTTP/1\.1\r\n((?:[-!#$%&'*+.^`|~0-9A-Za-z]+:[\t -~]*\r\n)+)\r\n"
)
# What may be said of the connection. Anything else ends it, or asks for another protocol.
_KEEP_ALIVE: Final = (None, b"keep-alive")
# A request with one of these is read by Twisted.
_SPECIAL: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"daphne-root-path"})


@dataclass(frozen=True, slots=True)
class _Waiting:
    scope: Scope
    came_at: float  # of the monotonic clock
    reply: Reply

    @property
    def poll(self) -> Poll:
        poll: Poll = self.scope[POLL]
        return poll


class DaphnePolls:
    """The polls of one server. All methods belong to the event loop's thread."""

    def __init__(self, server: Any) -> None:
        """``server``: Daphne's."""
        self._server = server
        self._waiting: dict[tuple[Any, ...], list[_Waiting]] = {}  # by the key of a poll, while one of them is asked
        self._asking: set[asyncio.Task[None]] = set()

    def read(self, data: bytes, client: tuple[Any, ...]) -> Scope | None:
        """Return the ASGI scope of what a client has sent, where that is one poll and nothing else; else None.

        ``client``: the address of its socket.
        """
        server = self._server
        found = None if len(data) > door.MAX_HEADER_BYTES or server.root_path else _REQUEST.fullmatch(data)
        if found is None:
            return None
        lines = [line.partition(b":") for line in found[2].split(b"\r\n")[:-1]]
        headers = [(name.lower(), value.strip(b" \t")) for name, _, value in lines]
        named = dict(headers)
        is_plain = b"host" in named and _SPECIAL.isdisjoint(named) and named.get(b"connection") in _KEEP_ALIVE
        if not is_plain:
            return None
        path, _, query = found[1].partition(b"?")
        address, scheme = parse_x_forwarded_for(
            named, server.proxy_forwarded_address_header, server.proxy_forwarded_port_header,
            server.proxy_forwarded_proto_header, list(client[:2]), "http",
        )  # fmt: skip
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0"},
            "http_version": "1.1", "method": "GET", "path": unquote(path.decode()), "raw_path": path,
            "root_path": "", "query_string": query, "scheme": scheme, "headers": headers, "client": address,
            "server": None,
        }  # fmt: skip
        scope[POLL] = read_poll(scope)
        return None if scope[POLL] is None else scope

    def answer_at_once(self, scope: Scope) -> bytes | None:
        """Return the answer to a poll, where it is known; else None."""
        messages = current_answers().repeat(scope[POLL])
        return None if messages is None else self._in_bytes(messages)

    def answer_later(self, scope: Scope, reply: Reply) -> bool:
        """Answer a poll once the application has answered one like it.

        ``reply`` is called with the answer, or with None where the application has failed. Returns False where nobody
        knows that the caller may see the dataset: then the poll cannot wait with others.
        """
        waiting = _Waiting(scope, time.monotonic(), reply)
        if not is_caller_known(waiting.poll):
            return False
        key = waiting.poll.key
        if key in self._waiting:
            self._waiting[key].append(waiting)
        else:
            self._waiting[key] = [waiting]
            task = asyncio.ensure_future(self._answer_waiting(key))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return True

    async def _answer_waiting(self, key: tuple[Any, ...]) -> None:
        """Ask for one poll after the other, and give the answer to all others that get the same, until none waits."""
        waiting = self._waiting[key]
        try:
            while waiting:
                first = waiting[0]
                answer = None
                try:
                    answer = await self._ask(first.scope)
                except Exception:
                    logger.exception("a poll could not be answered with others, and is left to Twisted")
                self._reply(waiting.pop(0), answer)
                others, waiting[:] = waiting[:], []
                for other in others:
                    messages = current_answers().answer_for_waiting(other.poll, other.came_at)
                    if messages is None:
                        waiting.append(other)
                    else:
                        self._reply(other, self._in_bytes(messages))
        finally:
            for left in self._waiting.pop(key):
                self._reply(left, None)

    def _reply(self, waiting: _Waiting, answer: bytes | None) -> None:
        try:
            waiting.reply(answer)
        except Exception:  # what one client sends takes no other its answer
            logger.exception("a poll could not be sent its answer")

    async def _ask(self, scope: Scope) -> bytes:
        """Return the application's answer to a request without a body."""
        request = [{"type": "http.request", "body": b"", "more_body": False}]
        messages: list[Message] = []

        async def receive() -> Message:
            if not request:
                await asyncio.Future()  # for ever: the view goes on if this client leaves, for those that wait
            return request.pop()

        async def send(message: Message) -> None:
            messages.append(message)

        await self._server.application(scope, receive, send)
        return self._in_bytes(messages)

    def _in_bytes(self, messages: list[Message]) -> bytes:
        return answer_bytes(messages, self._server.server_name)
