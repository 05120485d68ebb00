"""Whole answers as they go over the wire, without the server's own machinery."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from twisted.web.http import datetimeToString

# An answer with one of these has no body, and so no length.
_WITHOUT_BODY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


def answer_bytes(messages: Iterable[dict[str, Any]], server_name: str = "") -> bytes:
    """Return the messages of a whole ASGI answer in bytes, with a date and a length."""
    start, *parts = messages
    status, headers = start["status"], start["headers"]
    body = b"".join(part["body"] for part in parts)
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()), b"Date: " + datetimeToString()]
    lines += [name + b": " + value for name, value in headers]
    if server_name:
        lines.append(b"Server: " + server_name.encode())
    if status not in _WITHOUT_BODY and not any(name.lower() == b"content-length" for name, _ in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])
