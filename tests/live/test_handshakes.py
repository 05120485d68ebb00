"""Handshakes are admitted at the pace at which they are served; whoever comes meanwhile is told when to come again."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from apps.datasets.models import Dataset
from apps.live import limits
from apps.live.limits import MAX_HANDSHAKES
from apps.live.routing import sockets
from tests.processes import DAPHNE, UVICORN, Server, web_server

PATH = "/datasets/cats/progress/live/"


@pytest.fixture
def crowd() -> Iterator[list[object]]:
    """As many handshakes as are served at once."""
    crowd = [object() for _ in range(MAX_HANDSHAKES)]
    assert all(limits.begin_handshake(one) for one in crowd)
    yield crowd
    for one in crowd:
        limits.end_handshake(one)


async def open_socket(**scope: Any) -> dict[str, Any]:
    """Return the first message of the application to a client, who leaves then."""
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})
    asked = {"type": "websocket", "path": "/api/progress/ws", "headers": [], "client": ("127.0.0.1", 1), **scope}
    serving = asyncio.create_task(sockets(asked, said.get, sent.put))
    receiving = asyncio.create_task(sent.get())
    await asyncio.wait({serving, receiving}, return_when=asyncio.FIRST_COMPLETED)
    said.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait({serving})
    return receiving.result() if receiving.done() else {}


async def test_one_more_than_are_served_is_told_when_to_come_again(crowd: list[object]) -> None:
    refused = await open_socket(extensions={"websocket.http.response": {}})
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 503)
    assert dict(refused["headers"])[b"retry-after"] == b"1"
    assert (await open_socket())["type"] == "websocket.close"  # under a server that cannot send it
    limits.end_handshake(crowd.pop())
    assert (await open_socket())["type"] == "websocket.accept"
    assert (await open_socket())["type"] == "websocket.accept"  # the last one has given its place back


async def test_whoever_has_left_is_served_nothing() -> None:
    assert await open_socket(has_left=lambda: True) == {}


class Visitor:
    """A page that opens its socket, and does as it is told."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.refusals = 0
        self.is_served = False
        self.connect()

    def connect(self) -> None:
        self.line = socket.create_connection(("127.0.0.1", self._server.port))
        self.heard = b""
        self.line.sendall(
            f"GET {PATH} HTTP/1.1\r\nHost: {self._server.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def listen(self) -> None:
        self.heard += self.line.recv(65_536)
        head, end, _ = self.heard.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"HTTP/1.1 503"):
            assert b"retry-after: 1" in head.lower()
            self.refusals += 1
            self.line.close()
        else:
            assert head.startswith(b"HTTP/1.1 101")
            self.is_served = b'id="dataset-live"' in self.heard


@pytest.mark.parametrize("program", [DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def test_a_crowd_that_comes_at_once_is_served_one_after_the_other(
    dataset: Dataset, tmp_path: Path, program: tuple[str, ...]
) -> None:
    with (
        web_server(tmp_path / "log", program=program) as server,
        selectors.DefaultSelector() as selector,
        ExitStack() as lines,
    ):
        visitors = [Visitor(server) for _ in range(3 * MAX_HANDSHAKES)]
        for visitor in visitors:
            selector.register(visitor.line, selectors.EVENT_READ, visitor)
        deadline = time.monotonic() + 120
        while not all(visitor.is_served for visitor in visitors):
            assert time.monotonic() < deadline
            for key, _ in selector.select(1):
                visitor = key.data
                refusals = visitor.refusals
                visitor.listen()
                if visitor.refusals > refusals:
                    selector.unregister(key.fileobj)
                    visitor.connect()
                    selector.register(visitor.line, selectors.EVENT_READ, visitor)
        for visitor in visitors:
            lines.callback(visitor.line.close)
