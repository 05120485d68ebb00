"""The JSON protocol of one dataset, with a real server."""

from __future__ import annotations

import json
import time
from socket import create_connection

import pytest
from django.contrib.auth.models import User
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.progress import services
from apps.progress.models import Head
from apps.progress.selectors import progress_of
from apps.progress.services import StagePlan
from apps.progress.snapshot import DatasetProgress
from tests.processes import Server

from .conftest import ALLOWED_ORIGIN, Socket, login, open_socket


def version(dataset: Dataset) -> int:
    return Head.objects.get(dataset=dataset).version


def test_state_comes_at_once_after_subscribe(socket: Socket, dataset: Dataset) -> None:
    socket.subscribe()
    update = socket.update()
    assert update["dataset_id"] == "cats"
    assert (update["state"], update["current"], update["total"]) == ("pending", 0, 0)
    assert set(update) == {name for name, field in DatasetProgress.model_fields.items() if not field.exclude}


def test_every_watcher_ends_with_the_last_state_and_never_sees_an_older_one(socket: Socket, dataset: Dataset) -> None:
    socket.subscribe()
    socket.update()
    run = services.begin_run(dataset, [StagePlan("index")])
    services.start_stage(run.pk, "index", total=500)
    for current in range(1, 501):
        services.report(run.pk, current=current)
    services.finish(run.pk)
    updates = socket.until(version(dataset))
    versions = [update["version"] for update in updates]
    assert versions == sorted(set(versions))
    assert updates[-1] == json.loads(progress_of(dataset.pk).model_dump_json())
    assert updates[-1]["state"] == "ready"


def test_at_most_ten_frames_a_second(socket: Socket, dataset: Dataset) -> None:
    socket.subscribe()
    socket.update()
    run = services.begin_run(dataset, [StagePlan("index")])
    services.start_stage(run.pk, "index")
    began = time.monotonic()
    current = 0
    while time.monotonic() - began < 1.5 or current < 50:
        current += 1
        services.report(run.pk, current=current)
    updates = socket.until(version(dataset))
    assert updates[-1]["current"] == current
    assert len(updates) <= (time.monotonic() - began) * 10 + 2
    assert len(updates) < current


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        "[" * 2000,
        "[]",
        "{}",
        '{"type": "dance", "dataset_id": "cats"}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "dataset_id": "dogs"}',
        '{"type": "subscribe", "dataset_id": ["cats"]}',
        json.dumps({"type": "subscribe", "dataset_id": "cats", "padding": "x" * 4096}),
        b'{"type": "subscribe", "dataset_id": "cats"}',
    ],
)
def test_bad_message_is_answered_and_leaves_the_connection_open(socket: Socket, message: str | bytes) -> None:
    socket.connection.send(message)
    answer = socket.receive()
    assert answer["type"] == "error"
    assert set(answer) == {"type", "message"}
    socket.subscribe()
    assert socket.update()["dataset_id"] == "cats"


def test_nothing_comes_after_unsubscribe(socket: Socket, dataset: Dataset) -> None:
    socket.subscribe()
    socket.update()
    socket.unsubscribe()
    socket.send({"type": "?"})
    assert socket.receive()["type"] == "error"  # the server has read what was sent before
    run = services.begin_run(dataset, [StagePlan("index")])
    unseen = version(dataset)
    services.start_stage(run.pk, "index")
    socket.subscribe()
    updates = socket.until(version(dataset))
    assert unseen not in [update["version"] for update in updates]


def test_subscribing_twice_shows_the_state_again(socket: Socket) -> None:
    socket.subscribe()
    first = socket.update()
    socket.subscribe()
    assert socket.update() == first


def _refused(server: Server, dataset_id: str, **options: object) -> tuple[dict[str, str], int | None]:
    """The answer to a subscriber of ``dataset_id``, and the close code."""
    with open_socket(server, dataset_id, **options) as socket:
        socket.subscribe()
        answer = socket.receive()
        return answer, socket.close_code()


def test_malformed_handshake_is_answered_with_400(server: Server, dataset: Dataset) -> None:
    request = (
        "GET /api/datasets/cats/progress/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    with create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(request.encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("dataset_id", ["dogs", "d" * 129, "-dogs"], ids=["free", "too long", "no id"])
def test_unknown_dataset_is_closed(server: Server, dataset: Dataset, dataset_id: str) -> None:
    answer, code = _refused(server, dataset_id)
    assert answer["type"] == "error"
    assert code == 4404


def test_private_dataset_is_refused_in_the_words_of_an_unknown_one(server: Server, dataset: Dataset) -> None:
    owner = User.objects.create_user("owner")
    stranger = User.objects.create_user("stranger")
    Dataset.objects.create(dataset_id="mice", owner=owner)
    unknown, _ = _refused(server, "dogs")
    for headers in ({}, login(stranger)):
        answer, code = _refused(server, "mice", additional_headers=headers)
        assert answer["message"] == unknown["message"].replace("dogs", "mice")
        assert code == 4404
    with open_socket(server, "mice", additional_headers=login(owner)) as socket:
        socket.subscribe()
        assert socket.update()["dataset_id"] == "mice"


def test_deleted_dataset_is_closed(socket: Socket, dataset: Dataset) -> None:
    socket.subscribe()
    socket.update()
    delete_dataset(dataset)
    assert socket.receive()["type"] == "error"
    assert socket.close_code() == 4404


@pytest.mark.parametrize("origin", [None, "http://{host}", ALLOWED_ORIGIN])
def test_own_and_allowed_origins_are_let_in(server: Server, dataset: Dataset, origin: str | None) -> None:
    with open_socket(server, "cats", origin=origin and origin.format(host=server.host)) as socket:
        socket.subscribe()
        assert socket.update()["dataset_id"] == "cats"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://frontend.example.evil.example"]
)
def test_foreign_origin_is_refused(server: Server, dataset: Dataset, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(server, "cats", origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_unknown_host_is_refused(server: Server, dataset: Dataset) -> None:
    """A page whose host name was rebound to this server is still foreign."""
    there = create_connection(("127.0.0.1", server.port))
    url = f"ws://rebound.example:{server.port}/api/datasets/cats/progress/ws"
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(url, sock=there, origin=Origin(f"http://rebound.example:{server.port}")),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_unknown_address_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(server, "cats/nothing"):
        pass
    assert refused.value.response.status_code == 403
