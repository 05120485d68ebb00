"""A client that sends and receives bytes, for what a library would hide."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser

from tests.processes import Server

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes


@contextmanager
def line_to(server: Server, timeout: float = 30) -> Iterator[socket.socket]:
    """A TCP connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as line:
        yield line


def until_closed(line: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection, also by a reset."""
    received = bytearray()
    with suppress(ConnectionError):
        while part := line.recv(1 << 20):
            received += part
    return bytes(received)


def request(server: Server, path: str, method: str = "GET", body: bytes = b"", /, **headers: str) -> Answer:
    """Send one request, with the headers in snake case, and return the answer."""
    fields = {"Host": server.host, "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with line_to(server) as line:
        with suppress(ConnectionError):
            line.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return answer_of(until_closed(line))


def answer_of(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    assert status.startswith(b"HTTP/1.1 "), received[:200]
    return Answer(int(status.split()[1]), BytesHeaderParser().parsebytes(fields), body)


@contextmanager
def websocket(server: Server, path: str = "/api/progress/ws", timeout: float = 30) -> Iterator[socket.socket]:
    """A connection on which a WebSocket is open."""
    key = base64.b64encode(os.urandom(16)).decode()
    with line_to(server, timeout) as line:
        line.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += line.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield line


def frame(opcode: int, payload: bytes = b"", first: int = 0x80) -> bytes:
    """Return a client's frame; ``first`` has the bits before the opcode."""
    head = bytes([first | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", len(payload))
    return head + b"\0\0\0\0" + payload  # the mask of zeros leaves the payload as it is


def frames_of(received: bytes) -> list[tuple[int, bytes]]:
    """Return the server's frames that have come whole, each as its opcode and its payload."""
    frames = []
    while len(received) >= 2:
        length, start = received[1] & 0x7F, 2
        if length == 126:
            length, start = int.from_bytes(received[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(received[2:10]), 10
        if len(received) < start + length:
            break
        frames.append((received[0] & 0x0F, received[start : start + length]))
        received = received[start + length :]
    return frames


def close_code(line: socket.socket) -> int | None:
    """Return the code of the server's Close frame; None where the connection ends without one."""
    received = b""
    with suppress(ConnectionError):
        while part := line.recv(65536):
            received += part
            for opcode, payload in frames_of(received):
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2])
    return None
