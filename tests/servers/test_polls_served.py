"""Answers to polls that are repeated from memory, as both servers send them."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apps.datasets.models import Dataset
from tests.processes import DAPHNE, UVICORN, Server, web_server

from .raw import Answer, answer_of, line_to


@pytest.fixture(params=[DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def served(request: pytest.FixtureRequest, running: Dataset, tmp_path: Path) -> Iterator[Server]:
    with web_server(tmp_path / "log", program=request.param) as server:
        yield server


def test_a_repeated_answer_is_the_same_on_the_wire(served: Server) -> None:
    with httpx.Client(base_url=served.url, headers={"HX-Request": "true"}, timeout=60) as client:
        etag = client.get("/api/datasets/cats/progress").headers["ETag"]
        address = "/datasets/cats/progress/header/"
        [shown] = re.findall(r'hx-get="[^?]+\?([^"]+)"', client.get(address).text)
        query = shown.replace("&amp;", "&")
        for path, headers, status in [
            (address, {}, 200),
            (f"{address}?{query}", {}, 204),
            (f"/datasets/cats/progress/bar/?{query}", {}, 204),
            ("/datasets/cats/progress/bar/", {}, 200),
            ("/api/datasets/cats/progress", {}, 200),
            ("/api/datasets/cats/progress", {"If-None-Match": etag}, 304),
            (f"{address}?{query}", {"Connection": "close"}, 204),
        ]:
            answers = [client.get(path, headers=headers) for _ in range(5)]
            assert {answer.status_code for answer in answers} == {status}
            assert len({answer.content for answer in answers}) == 1
            named = [sorted((name, value) for name, value in one.headers.items() if name != "date") for one in answers]
            assert all(one == named[0] for one in named)
            assert all("date" in answer.headers for answer in answers)


def test_polls_may_follow_each_other_at_once(served: Server) -> None:
    """A client may send its next request before it has the answer to the last one."""
    asked = f"GET /api/datasets/cats/progress HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode()
    last = asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as line:
        line.sendall(asked * 20 + last)
        heard = b""
        while part := line.recv(65_536):
            heard += part
    assert heard.count(b"HTTP/1.1 200 ") == 21
    assert heard.count(b'"dataset_id":"cats"') == 21


HOST = b"Host: 127.0.0.1\r\n"
ASK = b"GET /api/datasets/cats/progress HTTP/1.1\r\n"
# Requests that no browser sends so, and the status of their answers. Each is sent in its pieces.
ODD: dict[str, tuple[list[bytes], int]] = {
    "in two pieces": ([ASK + HOST[:9], HOST[9:] + b"\r\n"], 200),
    "with a name in lower case": ([ASK + b"host:127.0.0.1\r\n\r\n"], 200),
    "after an empty line": ([b"\r\n" + ASK + HOST + b"\r\n"], 200),
    "with a folded header": ([ASK + HOST + b"X-Note: one\r\n two\r\n\r\n"], 200),
    "with a header twice": ([ASK + HOST + b"X-Note: one\r\nX-Note: two\r\n\r\n"], 200),
    "with an underscore in a name": ([ASK + HOST + b"X_Note: one\r\n\r\n"], 200),
    "with a body of no bytes": ([ASK + HOST + b"Content-Length: 0\r\n\r\n"], 200),
    "with a body": ([ASK + HOST + b"Content-Length: 2\r\n\r\nab"], 200),
    "with an escaped path": ([ASK.replace(b"cats", b"%63ats") + HOST + b"\r\n"], 200),
    "with a header that is none": ([ASK + HOST + b"X-Note\r\n\r\n"], 400),
    "with a NUL in a value": ([ASK + HOST + b"X-Note: \0\r\n\r\n"], 400),
    "with a path that is none": ([ASK.replace(b"cats", b"\xff") + HOST + b"\r\n"], 400),
}


def test_an_odd_poll_is_answered_as_any_request(running: Dataset, tmp_path: Path) -> None:
    with web_server(tmp_path / "log", program=DAPHNE) as server:
        answers = {name: _answers(server, pieces) for name, (pieces, _) in ODD.items()}
    for name, (_, status) in ODD.items():
        usual, odd = answers[name]
        assert (name, usual.status, odd.status) == (name, 200, status)
        assert status != 200 or odd.body == usual.body, name


def _answers(server: Server, pieces: list[bytes]) -> tuple[Answer, Answer]:
    """Return the usual answer to a poll, which is known then, and that to an odd request on the same connection."""
    with line_to(server) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(3):
            line.sendall(ASK + HOST + b"\r\n")
            usual = _one_answer(line)
        for piece in pieces:
            line.sendall(piece)
        return usual, _one_answer(line)


def _one_answer(line: socket.socket) -> Answer:
    """Read one answer, whose length its headers say."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += (part := line.recv(65_536))
        assert part, heard
    length = int(answer_of(heard).headers["Content-Length"])
    while len(answer_of(heard).body) < length:
        heard += line.recv(65_536)
    return answer_of(heard)
