"""A site that is closed with `SIGN_IN_REQUIRED`, on a real server: its sockets, pages and API."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from django.contrib.auth.models import User
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.live.rendering import KEEPALIVE
from tests.processes import Server, collect_static, web_server

from .conftest import login, open_socket


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    collect_static()
    with web_server(tmp_path_factory.mktemp("daphne") / "log", env={"SIGN_IN_REQUIRED": "on"}) as server:
        yield server


def test_without_a_session_or_a_token_nothing_is_shown(server: Server, dataset: Dataset) -> None:
    with open_socket(server, "cats") as socket:
        socket.subscribe()
        assert socket.receive()["message"] == "There is no dataset cats."
        assert socket.close_code() == 4404
    with (
        connect(f"{server.socket_url}/datasets/cats/progress/live/") as page,
        pytest.raises(ConnectionClosed) as closed,
    ):
        page.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404
    with connect(f"{server.socket_url}/progress/live/?id=cats") as listed:
        shown = {str(listed.recv(timeout=30)) for _ in range(2)}
    assert shown <= {f"{KEEPALIVE}<!-- sockets 1 -->", "<!-- gone -->"}
    assert httpx.get(f"{server.url}/api/datasets/cats").status_code == 401
    assert httpx.get(f"{server.url}/datasets/cats/").headers["Location"] == "/accounts/login/?next=/datasets/cats/"


def test_who_is_signed_in_or_has_a_token_sees_what_is_public(server: Server, dataset: Dataset) -> None:
    user = User.objects.create_user("ada")
    token = {"Authorization": f"Bearer {issue_token('ada', user=user)[1]}"}
    for headers in (login(user), token):
        with open_socket(server, "cats", additional_headers=headers) as socket:
            socket.subscribe()
            assert socket.update()["dataset_id"] == "cats"
        assert httpx.get(f"{server.url}/api/datasets/cats", headers=headers).status_code == 200
