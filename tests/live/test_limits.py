"""The limits on a socket, and how one that exceeds them is closed."""

from __future__ import annotations

import resource
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from apps.datasets.models import Dataset
from apps.live.checks import check_sockets_per_address
from apps.live.limits import MAX_MESSAGE_BYTES, MESSAGES_A_SECOND, address_of
from apps.live.protocol import CLOSE_TOO_LARGE, CLOSE_TOO_MANY
from tests.processes import DAPHNE, UVICORN, Server, web_server
from tests.services import wait_until

from .conftest import Socket, open_many, open_socket


def test_large_messages_are_refused_and_then_close_the_connection(socket: Socket) -> None:
    large = {"type": "subscribe", "dataset_id": "cats", "padding": "x" * MAX_MESSAGE_BYTES}
    socket.send(large)
    assert socket.receive()["type"] == "error"
    socket.subscribe()
    assert socket.update()["dataset_id"] == "cats"
    socket.send(large)
    assert socket.receive()["type"] == "error"
    assert socket.close_code() == CLOSE_TOO_LARGE


def test_more_messages_than_allowed_are_refused_and_then_close_the_connection(socket: Socket) -> None:
    with suppress(ConnectionClosed):  # the connection may close before all are sent
        for _ in range(MESSAGES_A_SECOND * 5):
            socket.subscribe()
    answers: list[dict[str, str]] = []
    while not answers or [answer["type"] for answer in answers].count("error") < 2:
        answers.append(socket.receive())
    assert {answer["message"] for answer in answers if answer["type"] == "error"} == {
        f"A client may send {MESSAGES_A_SECOND} messages a second."
    }
    assert socket.close_code() == CLOSE_TOO_MANY


@pytest.mark.parametrize("path", ["/datasets/cats/progress/live/", "/progress/live/?id=cats"])
def test_sockets_of_pages_have_the_same_limit(server: Server, dataset: Dataset, path: str) -> None:
    with connect(f"{server.socket_url}{path}") as page:
        with suppress(ConnectionClosed):
            for _ in range(MESSAGES_A_SECOND * 5):
                page.send("x")
            while True:
                page.recv(timeout=30)
        assert page.close_code == CLOSE_TOO_MANY


@pytest.mark.parametrize("program", [DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
@pytest.mark.parametrize("size", [10_000, 900_000])
def test_client_that_sends_without_reading_uses_little_memory(
    dataset: Dataset, tmp_path: Path, size: int, program: Sequence[str]
) -> None:
    with web_server(tmp_path / "log", program=program) as server, socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", server.port))
        memory = psutil.Process(server.process.pid).memory_info
        with connect(f"{server.socket_url}/api/progress/ws", sock=line, ping_interval=None) as flood:
            line.settimeout(30)
            before = memory().rss
            with suppress(ConnectionClosed, OSError):
                for _ in range(200_000_000 // size):
                    flood.send("x" * size)
            assert memory().rss - before < 50_000_000
            assert _is_served(server)


@pytest.mark.parametrize("proxied", [False, True])
def test_connections_of_one_address_are_limited(
    django_db_setup: None, dataset: Dataset, tmp_path: Path, proxied: bool
) -> None:
    env = {"SOCKETS_PER_ADDRESS": "2", "BEHIND_PROXY": "1" if proxied else "0"}

    def from_(address: str) -> dict[str, dict[str, str]]:
        # The proxy appends the address of the client to what the client itself sent.
        return {"additional_headers": {"X-Forwarded-For": f"10.9.9.9, {address}"}} if proxied else {}

    with web_server(tmp_path / "log", env=env) as server:
        with open_many(server, **from_("10.0.0.1")), open_socket(server, "cats", **from_("10.0.0.1")) as second:
            with open_many(server, **from_("10.0.0.1")) as third:
                assert third.receive()["type"] == "error"
                assert third.close_code() == CLOSE_TOO_MANY
            second.subscribe()
            assert second.update()["dataset_id"] == "cats"
            if proxied:
                assert _is_served(server, **from_("10.0.0.2"))
        # The server notices a closed connection a moment later.
        wait_until(lambda: _is_served(server, **from_("10.0.0.1")), seconds=30, what="closed connections still count")


def _is_served(server: Server, **options: dict[str, str]) -> bool:
    """Whether a new socket is shown the dataset, and not closed."""
    with open_socket(server, "cats", **options) as socket, suppress(ConnectionClosed):
        socket.subscribe()
        answer = socket.receive()
        return bool(answer["type"] == "progress_update" and answer["payload"]["dataset_id"] == "cats")
    return False


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1:2", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_is_its_network(peer: str, address: str) -> None:
    assert address_of({"client": (peer, 5) if peer else None, "headers": []}) == address


def test_what_sockets_look_up_is_limited_by_address(django_db_setup: None, dataset: Dataset, tmp_path: Path) -> None:
    """100 ids are what an address may save up."""
    with web_server(tmp_path / "log", env={"READS_PER_ADDRESS": "1"}) as server:
        ids = "&".join(f"id={number}" for number in range(90))
        with connect(f"{server.socket_url}/progress/live/?{ids}"), open_many(server) as many:
            many.send({"type": "subscribe", "dataset_ids": [str(number) for number in range(60)]})
            assert many.receive() == {
                "type": "error", "message": "Too many datasets were asked for from this address.",
            }  # fmt: skip
            assert many.close_code() == CLOSE_TOO_MANY
        with connect(f"{server.socket_url}/progress/live/?{ids}") as page:
            with pytest.raises(ConnectionClosed):
                page.recv(timeout=30)
            assert page.close_code == CLOSE_TOO_MANY


@pytest.mark.parametrize(("sockets", "warns"), [(100, False), (0, True), (1000, True), (5000, True)])
def test_sockets_of_one_address_are_fewer_than_open_files(
    settings: Any, monkeypatch: pytest.MonkeyPatch, sockets: int, warns: bool
) -> None:
    monkeypatch.setattr("apps.live.checks.getrlimit", lambda which: (256, 1000))
    settings.SOCKETS_PER_ADDRESS = sockets
    assert [message.id for message in check_sockets_per_address()] == ["live.W001"] * warns


def test_process_raises_its_limit_of_open_files(dataset: Dataset, tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = f"from resource import *; setrlimit(RLIMIT_NOFILE, (256, {most}));"
    start = f"{limit} from progress_site.servers.daphne import main; main()"
    with web_server(tmp_path / "log", program=("-c", start, *DAPHNE[2:])) as server:
        assert psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (most, most)
