"""A client that reads nothing for a while is then sent the newest states, not all that it missed."""

from __future__ import annotations

import json
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from apps.datasets.models import Dataset
from apps.progress.reports import Report, accept_reports
from tests.processes import DAPHNE, UVICORN, Server, web_server

from .conftest import open_many

DATASETS = 100
ROUNDS = 20
# Makes an update larger than 4 KB, so that those of all rounds do not fit into the kernel's buffers.
MESSAGE = "\N{MUSICAL SYMBOL G CLEF}" * 1000


@pytest.fixture(params=[DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with web_server(tmp_path / "log", program=request.param) as server:
        yield server


@pytest.fixture
def datasets(transactional_db: None) -> dict[str, int]:
    """Row ids by id."""
    Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}", visibility="public") for number in range(DATASETS))
    return dict(Dataset.objects.values_list("dataset_id", "pk"))


def test_reader_that_was_away_skips_what_is_old(server: Server, datasets: dict[str, int]) -> None:
    dataset_ids = list(datasets)
    with socket.socket() as line, open_many(server) as watcher:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", server.port))
        with connect(f"{server.socket_url}/api/progress/ws", sock=line, max_queue=1, ping_interval=None) as slow:
            slow.send(json.dumps({"type": "subscribe", "dataset_ids": dataset_ids}))
            watcher.send({"type": "subscribe", "dataset_id": dataset_ids[-1]})
            for count in range(1, ROUNDS + 1):
                report = Report(current=count, total=ROUNDS, message=MESSAGE)
                accept_reports([(pk, report) for pk in datasets.values()])
                watcher.until(count)  # each round is sent before the next is reported

            seen: dict[str, list[int]] = {dataset_id: [] for dataset_id in dataset_ids}
            while any(ROUNDS not in versions for versions in seen.values()):
                update = json.loads(slow.recv(timeout=30))["payload"]
                seen[update["dataset_id"]].append(update["version"])
    assert all(versions == sorted(versions) for versions in seen.values())
    # The kernel buffered the first rounds. What came while its buffers were full was replaced before it was sent.
    received = Counter(len(versions) for versions in seen.values())
    assert max(received) <= ROUNDS * 2 // 3, received


def test_reader_that_takes_nothing_holds_up_nobody(server: Server, datasets: dict[str, int]) -> None:
    dataset_ids = list(datasets)
    private = Dataset.objects.create(dataset_id="secret", visibility="public")
    with socket.socket() as line, open_many(server) as watcher, open_many(server) as stranger:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", server.port))
        with connect(f"{server.socket_url}/api/progress/ws", sock=line, max_queue=1, ping_interval=None) as slow:
            slow.send(json.dumps({"type": "subscribe", "dataset_ids": [*dataset_ids, "secret"]}))
            stranger.send({"type": "subscribe", "dataset_id": "secret"})
            stranger.update()
            watcher.send({"type": "subscribe", "dataset_id": dataset_ids[-1]})
            for count in range(1, ROUNDS + 1):
                report = Report(current=count, total=ROUNDS, message=MESSAGE)
                accept_reports([(pk, report) for pk in datasets.values()])
                watcher.until(count)
            # The slow reader is sent that one dataset is gone and that it may not see another, and reads neither.
            Dataset.objects.get(dataset_id=dataset_ids[0]).delete()
            Dataset.objects.filter(pk=private.pk).update(visibility="private")
            assert "secret" in stranger.receive()["message"]
            accept_reports([(datasets[dataset_ids[-1]], Report(current=1, stage="next"))])
            watcher.until(ROUNDS + 1)
            # The slow reader does not keep the server from ending.
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(timeout=30)
            line.shutdown(socket.SHUT_RDWR)
