"""Polls under Daphne that are answered from memory, from the bytes of a request to those of the answer.

Twisted's parser, request and buffers take several times as long as the answer. Whatever is unusual about a request is
left to them, and then to the view.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from daphne.utils import parse_x_forwarded_for
from twisted.web import http

# One whole request without a body. A name with an underscore could pose as another one, so none is taken here.
_REQUEST: Final = re.compile(
    rb"GET (/(?:api/)?datasets/[!-~]+) HTTP/1\.1\r\n((?:[-!#$%&'*+.^`|~0-9A-Za-z]+:[\t -~]*\r\n)+)\r\n"
)
# What may be said of the connection. Anything else ends it, or asks for another protocol.
_KEEP_ALIVE: Final = (None, b"keep-alive")
# A request with one of these is read by Twisted.
_SPECIAL: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"daphne-root-path"})


def answer_to(data: bytes, server: Any, peer: str) -> bytes | None:
    """Return the whole answer to what a client has sent, where that is a poll whose answer is known; else None.

    ``server`` is Daphne's, ``peer`` the host of the client's address.
    """
    found = _REQUEST.fullmatch(data)
    if found is None or server.root_path:
        return None
    lines = [line.partition(b":") for line in found[2].split(b"\r\n")[:-1]]
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in lines]
    named = dict(headers)
    if not _SPECIAL.isdisjoint(named) or named.get(b"connection") not in _KEEP_ALIVE:
        return None
    from . import polls  # here, because the server sets up Django when it loads the application

    path, _, query = found[1].partition(b"?")
    client, scheme = parse_x_forwarded_for(
        named, server.proxy_forwarded_address_header, server.proxy_forwarded_port_header,
        server.proxy_forwarded_proto_header, [peer, 0], "http",
    )  # fmt: skip
    poll = polls.read_poll(
        {
            "method": "GET", "path": unquote(path.decode()), "query_string": query, "scheme": scheme,
            "headers": headers, "client": client,
        }
    )  # fmt: skip
    messages = None if poll is None else polls.current_answers().repeat(poll)
    if messages is None:
        return None
    start, *parts = messages
    headers = start["headers"]
    if server.server_name:
        headers = [*headers, (b"Server", server.server_name.encode())]
    return answer_bytes(start["status"], headers, b"".join(part["body"] for part in parts))


def answer_bytes(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return a whole answer as it goes over the wire. Its length is among its headers."""
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()), b"Date: " + http.datetimeToString()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", body])
