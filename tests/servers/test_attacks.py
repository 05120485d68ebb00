"""What one client may cost, on real processes of both servers: memory, threads, and connections that do nothing."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from apps.datasets.models import Dataset, Sample
from apps.live.limits import MESSAGES_A_SECOND
from apps.live.protocol import CLOSE_TOO_MANY
from apps.pipeline.models import Source
from progress_site.servers.door import LARGE_BODY_BYTES, MAX_BODY_BYTES, MAX_LARGE_BODIES
from progress_site.servers.places import places
from tests.processes import DAPHNE, UVICORN, Server, collect_static, web_server
from tests.services import wait_until

from .raw import PING, PONG, TEXT, answer_of, close_code, frame, line_to, request, until_closed, websocket

MOST_MEMORY = 300_000_000
ORIGINAL_BYTES = 95_000_000
# The servers with time limits of a second.
IMPATIENT = "from progress_site.servers import door; door.REQUEST_SECONDS = door.BODY_SECONDS = door.STALL_SECONDS = 1;"
IMPATIENT_DAPHNE = ("-c", IMPATIENT + "from progress_site.servers.daphne import main; main()", *DAPHNE[2:])
IMPATIENT_UVICORN = ("-c", IMPATIENT + "from uvicorn import main; main()", *UVICORN[2:])


@pytest.fixture(scope="module", params=[DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def server(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    collect_static()
    with web_server(tmp_path_factory.mktemp("server") / "log", program=request.param) as server:
        yield server


@pytest.fixture(params=[IMPATIENT_DAPHNE, IMPATIENT_UVICORN], ids=["daphne", "uvicorn"])
def impatient_server(request: pytest.FixtureRequest, dataset: Dataset, tmp_path: Path) -> Iterator[Server]:
    with web_server(tmp_path / "log", program=request.param) as server:
        yield server


@pytest.fixture
def original(dataset: Dataset, tmp_path: Path) -> str:
    """The address of a large original."""
    with Path(tmp_path, "a.jpg").open("wb") as file:
        file.truncate(ORIGINAL_BYTES)
    Source.objects.create(dataset=dataset, folder=str(tmp_path))
    sample = Sample.objects.create(
        dataset=dataset, path="a.jpg", sha256="a" * 64, size=ORIGINAL_BYTES, mtime_ns=0, format="JPEG", width=1,
        height=1, thumbnail_width=1, thumbnail_height=1, seen_in_run=1,
    )  # fmt: skip
    return f"/datasets/{dataset.dataset_id}/samples/{sample.pk}/original/"


def most_memory(server: Server) -> int:
    """The most bytes that the process has had so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1000


def files_without_name(server: Server) -> list[str]:
    links = []
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed in the meantime
            links.append(str(link.readlink()))
    return [link for link in links if link.endswith("(deleted)")]


def test_large_bodies_cost_little_memory_and_no_file(server: Server, dataset: Dataset) -> None:
    head = f"POST /api/progress HTTP/1.1\r\nHost: {server.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    part = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with ExitStack() as lines:
        attackers = [lines.enter_context(line_to(server)) for _ in range(3 * MAX_LARGE_BODIES)]
        for line in attackers:
            line.sendall(head)
        for _ in range(2):
            for line in attackers:
                with suppress(ConnectionError):
                    line.sendall(part)
            assert request(server, "/health/").status == 200
        assert files_without_name(server) == []
        # Those that had no place were told so; the others are told at the byte that is too much.
        for line in attackers:
            with suppress(ConnectionError):
                line.sendall(part)
        answers = [answer_of(until_closed(line)).status for line in attackers]
    assert answers.count(413) == MAX_LARGE_BODIES
    assert answers.count(503) == 2 * MAX_LARGE_BODIES
    assert most_memory(server) < MOST_MEMORY
    # All places are free again, and a report never needs one.
    whole = b"x" * (LARGE_BODY_BYTES + 1)
    assert request(server, "/api/progress", "POST", whole, Content_Length=str(len(whole))).status in (401, 415)


def test_body_of_unending_size_is_cut(server: Server, dataset: Dataset) -> None:
    head = f"POST / HTTP/1.1\r\nHost: {server.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with line_to(server) as line:
        line.sendall(head)
        with pytest.raises(ConnectionError):
            _send(line, b"100000\r\n" + b"x" * 0x100000 + b"\r\n", times=1000)
    assert most_memory(server) < MOST_MEMORY


def test_slow_readers_of_large_files_hold_no_memory_and_no_thread(server: Server, original: str) -> None:
    with ExitStack() as lines:
        for _ in range(2 * sum(places().values())):
            line = lines.enter_context(line_to(server))
            line.sendall(f"GET {original} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
            assert line.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        assert request(server, "/api/datasets").status == 200
        assert most_memory(server) < MOST_MEMORY


def test_head_of_a_large_file_reads_none_of_it(server: Server, original: str) -> None:
    before = read_bytes(server)
    for _ in range(5):
        assert request(server, original, "HEAD").headers["Content-Length"] == str(ORIGINAL_BYTES)
    assert read_bytes(server) - before < ORIGINAL_BYTES // 10


def read_bytes(server: Server) -> int:
    """What the process has read so far, from whatever it was."""
    return int(Path(f"/proc/{server.process.pid}/io").read_text().split()[1])


def test_whole_file_arrives(server: Server, original: str) -> None:
    assert len(request(server, original).body) == ORIGINAL_BYTES


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_control_frames_count_as_messages(server: Server, dataset: Dataset, opcode: int) -> None:
    with websocket(server) as line:
        with suppress(ConnectionError):
            line.sendall(frame(opcode) * 50_000)
        assert close_code(line) == CLOSE_TOO_MANY


def test_pings_within_the_limit_are_answered(server: Server, dataset: Dataset) -> None:
    with websocket(server) as line:
        for number in range(MESSAGES_A_SECOND // 2):
            line.sendall(frame(PING, b"%d" % number))
            assert line.recv(3, socket.MSG_WAITALL) == bytes([0x80 | PONG, 1]) + b"%d" % number


@pytest.mark.parametrize(
    "program",
    [
        (*DAPHNE[:2], "--ping-interval", "1", "--ping-timeout", "1", *DAPHNE[2:]),
        (*UVICORN[:2], "--ws-ping-interval", "1", "--ws-ping-timeout", "1", *UVICORN[2:]),
    ],
    ids=["daphne", "uvicorn"],
)
@pytest.mark.slow
def test_client_that_reads_nothing_is_dropped_while_it_sends(
    dataset: Dataset, tmp_path: Path, program: Sequence[str]
) -> None:
    with (
        web_server(tmp_path / "log", program=program) as server,
        websocket(server) as line,
        pytest.raises(ConnectionError),
    ):
        _send(line, frame(TEXT, b"{}"), times=300, pause=0.1)  # within the limit on messages


def _send(line: socket.socket, data: bytes, times: int, pause: float = 0.0) -> None:
    for _ in range(times):
        line.sendall(data)
        time.sleep(pause)


def nothing(line: socket.socket, server: Server) -> None:
    """Connect, and be silent."""


def drip(line: socket.socket, server: Server) -> None:
    line.sendall(f"GET / HTTP/1.1\r\nHost: {server.host}\r\n".encode())
    _send(line, b"X-A: b\r\n", times=300, pause=0.1)


def half_a_body(line: socket.socket, server: Server) -> None:
    line.sendall(f"POST /api/progress HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 9\r\n\r\nabc".encode())


def read_nothing(line: socket.socket, server: Server) -> None:
    original = Sample.objects.get()
    path = f"/datasets/{original.dataset.dataset_id}/samples/{original.pk}/original/"
    line.sendall(f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
    assert line.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
    connections = psutil.Process(server.process.pid).net_connections
    port = line.getsockname()[1]

    def is_gone() -> bool:
        return port not in {one.raddr.port for one in connections() if one.raddr}

    wait_until(is_gone, seconds=20, what="the server waits for a client that reads nothing")


@pytest.mark.slow
@pytest.mark.parametrize("does", [nothing, drip, half_a_body, read_nothing])
def test_connection_that_does_nothing_ends(
    impatient_server: Server, original: str, does: Callable[[socket.socket, Server], None]
) -> None:
    with line_to(impatient_server, timeout=20) as line:
        with suppress(ConnectionError):
            does(line, impatient_server)
        assert until_closed(line) is not None  # a `TimeoutError` if the server does not close it


def test_largest_body_needs_no_file() -> None:
    assert LARGE_BODY_BYTES < MAX_BODY_BYTES < MOST_MEMORY // MAX_LARGE_BODIES
