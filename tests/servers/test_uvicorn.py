"""The same application under Uvicorn: pages, the API and the sockets."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from apps.datasets.models import Dataset
from apps.progress import services as progress
from tests.live.conftest import open_socket
from tests.processes import UVICORN, Server, collect_static, web_server

PLAIN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port")


@pytest.fixture(params=[UVICORN, PLAIN], ids=["ours", "plain"])
def uvicorn(request: pytest.FixtureRequest, dataset: Dataset, tmp_path: Path) -> Iterator[Server]:
    collect_static()
    with web_server(tmp_path / "log", program=request.param) as server:
        yield server


def _get(server: Server, path: str, **headers: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    response.read()
    return response


def test_everything_is_served(uvicorn: Server, dataset: Dataset) -> None:
    assert _get(uvicorn, f"/datasets/{dataset.dataset_id}/").status == 200
    api = _get(uvicorn, f"/api/datasets/{dataset.dataset_id}/progress")
    assert (
        _get(uvicorn, f"/api/datasets/{dataset.dataset_id}/progress", If_None_Match=api.headers["ETag"]).status == 304
    )
    with open_socket(uvicorn, dataset.dataset_id) as socket:
        socket.subscribe()
        assert socket.update()["state"] == "pending"
        run = progress.begin_run(dataset)
        progress.finish(run.pk)
        assert socket.until(2)[-1]["state"] == "ready"


def test_sockets_are_closed_with_a_code_when_the_server_ends(uvicorn: Server, dataset: Dataset) -> None:
    with open_socket(uvicorn, dataset.dataset_id) as socket:
        socket.subscribe()
        socket.update()
        uvicorn.process.send_signal(signal.SIGTERM)
        assert socket.close_code() == 1012
