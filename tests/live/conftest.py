"""A real Daphne on the tests' database. What a test writes, it writes from another process than the server's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from apps.datasets.models import Dataset
from apps.live.rendering import KEEPALIVE
from tests.processes import Server, collect_static, web_server

ALLOWED_ORIGIN = "https://frontend.example"


@pytest.fixture(scope="package")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    collect_static()
    log = tmp_path_factory.mktemp("daphne") / "log"
    with web_server(log, env={"ALLOWED_ORIGINS": ALLOWED_ORIGIN}) as server:
        yield server


@dataclass(frozen=True)
class Socket:
    """A client of the JSON protocol; ``dataset_id`` is the dataset of its address, empty for the socket of many."""

    connection: ClientConnection
    dataset_id: str = ""

    def send(self, message: object) -> None:
        self.connection.send(json.dumps(message))

    def subscribe(self) -> None:
        self.send({"type": "subscribe", "dataset_id": self.dataset_id})

    def unsubscribe(self) -> None:
        self.send({"type": "unsubscribe", "dataset_id": self.dataset_id})

    def receive(self) -> dict[str, Any]:
        """The next message. Raises `TimeoutError` where none comes."""
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=30))
        return message

    def update(self) -> dict[str, Any]:
        """The payload of the next message, which has to be an update."""
        message = self.receive()
        assert message["type"] == "progress_update", message
        payload: dict[str, Any] = message["payload"]
        return payload

    def close_code(self) -> int | None:
        """The code with which the server closes; nothing may come before it."""
        with pytest.raises(ConnectionClosed) as closed:
            self.receive()
        return closed.value.rcvd.code if closed.value.rcvd else None

    def until(self, version: int) -> list[dict[str, Any]]:
        """The payloads up to the first of ``version`` or a later one."""
        updates = [self.update()]
        while updates[-1]["version"] < version:
            updates.append(self.update())
        return updates


@pytest.fixture
def dataset(transactional_db: None) -> Dataset:
    return Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)


@contextmanager
def open_socket(server: Server, dataset_id: str, **options: Any) -> Iterator[Socket]:
    url = f"{server.socket_url}/api/datasets/{dataset_id}/progress/ws"
    with connect(url, **options) as connection:
        yield Socket(connection, dataset_id)


@contextmanager
def open_many(server: Server, **options: Any) -> Iterator[Socket]:
    """The socket for any datasets."""
    with connect(f"{server.socket_url}/api/progress/ws", **options) as connection:
        yield Socket(connection)


def login(user: User) -> dict[str, str]:
    """The headers of a client that is signed in as ``user``."""
    client = Client()
    client.force_login(user)
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}


@pytest.fixture
def socket(server: Server, dataset: Dataset) -> Iterator[Socket]:
    with open_socket(server, dataset.dataset_id) as socket:
        yield socket


def next_message(socket: ClientConnection) -> str:
    """The next message that is no keepalive."""
    while (text := str(socket.recv(timeout=30))).startswith(KEEPALIVE):
        pass
    return text
