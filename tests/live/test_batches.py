"""The progress of a batch is pushed, over the same protocol as that of a dataset, with a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from websockets.sync.client import connect

from apps.batches.models import Batch, BatchMember
from apps.batches.selectors import progress_of_batch
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from apps.progress.services import StagePlan
from tests.batches.conftest import ANYONE
from tests.processes import Server

from .conftest import Socket, login, next_message


@pytest.fixture
def batch(transactional_db: None) -> Batch:
    batch = Batch.objects.create(batch_id="nightly")
    for name in ("cats", "dogs"):
        add(batch, name)
    return batch


def add(batch: Batch, name: str, visibility: str = "public") -> Run:
    dataset = Dataset.objects.create(dataset_id=name, visibility=visibility)
    BatchMember.objects.create(batch=batch, dataset=dataset)
    run = services.begin_run(dataset, [StagePlan("work", total=1000)])
    return services.start_stage(run.pk, "work")


@contextmanager
def open_batch(server: Server, batch_id: str = "nightly", headers: dict[str, str] | None = None) -> Iterator[Socket]:
    url = f"{server.socket_url}/api/batches/{batch_id}/progress/ws"
    with connect(url, additional_headers=headers) as connection:
        socket = Socket(connection)
        socket.send({"type": "subscribe", "batch_id": batch_id})
        yield socket


def run_of(name: str) -> int:
    return Run.objects.get(dataset__dataset_id=name).pk


def test_state_comes_at_once_and_after_every_change(server: Server, batch: Batch) -> None:
    with open_batch(server) as socket:
        assert socket.update() == json.loads(progress_of_batch(ANYONE, batch).model_dump_json())
        services.finish(run_of("cats"))
        began = time.monotonic()
        update = socket.update()
        assert time.monotonic() - began < 2
        assert (update["current"], update["state"], update["percent"]) == (1, "indexing", 50.0)
        services.finish(run_of("dogs"))
        assert socket.update()["state"] == "ready"


def test_however_many_reports_the_last_state_comes_and_none_is_older(server: Server, batch: Batch) -> None:
    with open_batch(server) as socket:
        began = time.monotonic()
        for current in range(1, 101):
            for name in ("cats", "dogs"):
                services.report(run_of(name), current=current)
        last = progress_of_batch(ANYONE, batch).version
        updates = socket.until(last)
        assert len(updates) <= (time.monotonic() - began) * 10 + 2
    versions = [update["version"] for update in updates]
    assert versions == sorted(set(versions))
    assert updates[-1]["percent"] == 10.0


def test_other_datasets_are_another_epoch(server: Server, batch: Batch) -> None:
    with open_batch(server) as socket:
        before = socket.update()
        add(batch, "birds")
        after = socket.update()
        while after["total"] < 3:
            after = socket.update()
        assert after["epoch"] != before["epoch"]
        BatchMember.objects.filter(dataset__dataset_id="birds").delete()
        assert socket.update()["epoch"] == before["epoch"]


def test_each_reader_is_told_of_what_they_may_see(server: Server, batch: Batch) -> None:
    staff = User.objects.create_user("stef", is_staff=True)
    add(batch, "shut", "private")
    with open_batch(server) as anyone, open_batch(server, headers=login(staff)) as all_of_it:
        assert anyone.update()["total"] == 2
        assert all_of_it.update() == json.loads(progress_of_batch(Caller(staff), batch).model_dump_json())
        services.finish(run_of("shut"))
        assert all_of_it.update()["current"] == 1
        Dataset.objects.filter(dataset_id="dogs").update(visibility="private")
        assert anyone.update()["total"] == 1  # and nothing was said of the hidden one
        Dataset.objects.update(visibility="private")
        assert anyone.receive() == {"type": "error", "message": "There is no batch nightly any more."}
        assert anyone.close_code() == 4404


def test_an_unknown_batch_is_an_error_and_a_close(server: Server, batch: Batch) -> None:
    for batch_id in ("none", "no%20id"):
        with open_batch(server, batch_id) as socket:
            if batch_id == "none":
                assert socket.receive() == {"type": "error", "message": "There is no batch none."}
                assert socket.close_code() == 4404
            else:
                assert socket.receive()["type"] == "error"
    Dataset.objects.update(visibility="private")
    with open_batch(server) as socket:
        assert socket.receive() == {"type": "error", "message": "There is no batch nightly."}


def test_errors_leave_the_connection_open(server: Server, batch: Batch) -> None:
    with open_batch(server) as socket:
        socket.update()
        for message in ({"type": "dance"}, {"type": "subscribe", "batch_id": "other"}, {"type": "subscribe"}):
            socket.send(message)
            assert socket.receive()["type"] == "error"
        socket.send({"type": "unsubscribe", "batch_id": "nightly"})
        services.finish(run_of("cats"))
        socket.send({"type": "subscribe", "batch_id": "nightly"})
        assert socket.update()["current"] == 1


def test_page_gets_panel_and_rows(server: Server, batch: Batch) -> None:
    with connect(f"{server.socket_url}/batches/nightly/progress/live/?id=cats") as connection:
        first = [next_message(connection) for _ in range(2)]
        assert any('id="batch-live"' in frame for frame in first)
        assert any('id="row-cats"' in frame for frame in first)
        services.finish(run_of("dogs"))  # no row of this page
        frame = next_message(connection)
        assert 'id="batch-live"' in frame
        assert "50% (1/2)" in frame
        add(batch, "birds")
        frames = [next_message(connection) for _ in range(2)]
        assert any(frame == "<!-- new dataset -->" for frame in frames)
