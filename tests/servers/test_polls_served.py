"""Answers to polls that are repeated from memory, as both servers send them."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apps.datasets.models import Dataset
from apps.progress import services
from tests.processes import DAPHNE, UVICORN, Server, web_server


@pytest.fixture
def dataset(transactional_db: None) -> Dataset:
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    run = services.begin_run(dataset, [services.StagePlan("index", total=100)])
    services.start_stage(run.pk, "index")
    return dataset


@pytest.fixture(params=[DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def served(request: pytest.FixtureRequest, dataset: Dataset, tmp_path: Path) -> Iterator[Server]:
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
