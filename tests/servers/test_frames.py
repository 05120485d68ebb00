"""The frames of RFC 6455, sent byte by byte by a client that no library corrects: both servers answer alike.

The cases are those of the Autobahn test suite, apart from its large messages, which the limits refuse, and compression,
which is not offered.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.processes import DAPHNE, UVICORN, Server, collect_static, web_server

from .raw import CLOSE, PING, PONG, TEXT, frame, frames_of, websocket

pytestmark = pytest.mark.django_db  # which has the tables of the server made

CONTINUATION, BINARY = 0, 2
BEGIN = 0x00  # a frame that is not the last of its message
EURO = "€".encode()
END = frame(CLOSE, struct.pack("!H", 1000))
REPLY = (TEXT, b'{"type": "error"')  # to any message that is no command


@pytest.fixture(scope="module", params=[DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def server(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    collect_static()
    with web_server(tmp_path_factory.mktemp("server") / "log", program=request.param) as server:
        yield server


def answers(line: socket.socket, count: int = 0) -> list[tuple[int, bytes]]:
    """Return the server's next ``count`` frames, or all up to its Close frame.

    Of a text they have the beginning, of a Close frame the code.
    """
    received = b""
    while not ((frames := frames_of(received)) and (len(frames) == count or frames[-1][0] == CLOSE)):
        part = line.recv(65536)
        assert part, f"the connection ended without a Close frame, after {received!r}"
        received += part
    shortened = {TEXT: len(REPLY[1]), CLOSE: 2}
    return [(opcode, payload[: shortened.get(opcode, 125)]) for opcode, payload in frames]


def closed(code: int) -> tuple[int, bytes]:
    return CLOSE, struct.pack("!H", code)


def masked(opcode: int, payload: bytes, mask: bytes = b"\x12\xff\x00\x7e") -> bytes:
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + body


TAKEN = {
    "an empty message": (frame(TEXT), [REPLY]),
    "a binary message": (frame(BINARY, b"\0\xfe\xff"), [REPLY]),
    "a masked message": (masked(TEXT, EURO * 20), [REPLY]),
    "a length of two bytes": (frame(TEXT, b"*" * 126), [REPLY]),
    "the longest message": (frame(TEXT, b"*" * 4096), [REPLY]),
    "two at once": (frame(TEXT, b"a") + frame(TEXT, b"b"), [REPLY, REPLY]),
    "two fragments": (frame(TEXT, b"a", BEGIN) + frame(CONTINUATION, b"b"), [REPLY]),
    "empty fragments": (frame(TEXT, b"", BEGIN) + frame(CONTINUATION, b"", BEGIN) + frame(CONTINUATION), [REPLY]),
    "a character over two fragments": (frame(TEXT, EURO[:1], BEGIN) + frame(CONTINUATION, EURO[1:]), [REPLY]),
    "a ping between fragments": (
        frame(TEXT, b"a", BEGIN) + frame(PING, b"now") + frame(CONTINUATION, b"b"), [(PONG, b"now"), REPLY],
    ),
    "pings": (frame(PING) + frame(PING, b"\0\xff") + frame(PING, b"x" * 125),
              [(PONG, b""), (PONG, b"\0\xff"), (PONG, b"x" * 125)]),
    "a pong that was not asked for": (frame(PONG, b"x") + frame(PING, b"y"), [(PONG, b"y")]),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "expected"), TAKEN.values(), ids=TAKEN)
def test_frames_that_are_taken(server: Server, sent: bytes, expected: list[tuple[int, bytes]]) -> None:
    with websocket(server) as line:
        line.sendall(sent)
        assert answers(line, len(expected)) == expected
        line.sendall(END)
        assert answers(line) == [closed(1000)]


def test_frames_may_come_byte_by_byte(server: Server) -> None:
    sent, expected = TAKEN["a ping between fragments"]
    with websocket(server) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in sent:
            line.sendall(bytes([byte]))
        assert answers(line, len(expected)) == expected


def unmasked(opcode: int, payload: bytes) -> bytes:
    return bytes([0x80 | opcode, len(payload)]) + payload


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


REFUSED = {
    "no mask": (unmasked(TEXT, b"a"), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"a"), 1002),
    "a message within a message": (frame(TEXT, b"a", BEGIN) + frame(TEXT, b"b"), 1002),
    "a ping in fragments": (frame(PING, b"a", BEGIN) + frame(CONTINUATION, b"b"), 1002),
    "a ping that is too long": (frame(PING, b"x" * 126), 1002),
    "a close that is too long": (closing(1000, b"x" * 124), 1002),
    "half a close code": (frame(CLOSE, b"\x03"), 1002),
    "a reason that is no text": (closing(1000, b"\xff"), 1007),
    **{f"opcode {opcode}": (frame(opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"reserved bit {bit:#x}": (frame(TEXT, b"a", 0x80 | bit), 1002) for bit in (0x40, 0x20, 0x10)},
    **{f"close code {code}": (closing(code), 1002)
       for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)},
    **{
        f"text {text.hex()}": (frame(TEXT, b"a", BEGIN) + frame(CONTINUATION, text), 1007)
        for text in (b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", EURO[:2])
    },
}  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), REFUSED.values(), ids=REFUSED)
def test_frames_that_are_refused(server: Server, sent: bytes, code: int) -> None:
    with websocket(server) as line:
        line.sendall(sent)
        assert answers(line) == [closed(code)]


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 4999])
def test_close_is_echoed_and_ends_the_connection(server: Server, code: int) -> None:
    with websocket(server) as line:
        line.sendall(closing(code, b"bye") + frame(PING, b"after"))
        assert answers(line) == [closed(code)]
        assert line.recv(1) == b""


def test_close_without_a_code_is_answered(server: Server) -> None:
    with websocket(server) as line:
        line.sendall(frame(CLOSE))
        assert answers(line) in ([(CLOSE, b"")], [closed(1000)])
        assert line.recv(1) == b""
