"""An item that never ends holds nobody: not its neighbours, not pause and cancel, not a worker that is to stop."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from django.db import connection
from pytest_django import Settings

from apps.datasets.models import Sample
from apps.pipeline.models import Job
from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run
from apps.progress.selectors import progress_of
from tests.images import make_images
from tests.pipeline.runs import process
from tests.processes import worker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

STUCK = "tests.pipeline.work.deadly.Stuck"


def test_item_that_takes_too_long_is_a_failure_and_its_neighbours_are_done(folder: Path, settings: Settings) -> None:
    make_images(folder, 3, size=(20, 30))
    make_images(folder / "wide", 1, size=(30, 20))
    settings.EMBEDDER, settings.ITEM_SECONDS = STUCK, 4
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    assert list(ItemFailure.objects.values_list("item", "reason")) == [
        ("wide/000000.jpg", "took over 4 s (ITEM_SECONDS)")
    ]
    assert Sample.objects.exclude(embedding_block=None).count() == 3
    assert progress_of(run.dataset_id).failed == 1


def _pause(run: Run, stop: threading.Event) -> None:
    progress.request_pause(run.pk)


def _cancel(run: Run, stop: threading.Event) -> None:
    progress.request_cancel(run.pk)


def _stop(run: Run, stop: threading.Event) -> None:
    stop.set()


@pytest.mark.parametrize(
    ("ask", "outcome"), [(_pause, Outcome.RELEASED), (_cancel, Outcome.CANCELLED), (_stop, Outcome.RELEASED)]
)
def test_wishes_are_obeyed_while_an_item_is_stuck(
    folder: Path, settings: Settings, ask: Callable[[Run, threading.Event], None], outcome: Outcome
) -> None:
    make_images(folder, 2, size=(30, 20))
    settings.EMBEDDER = STUCK
    run = process_folder(folder, dataset_id="cats")
    stop = threading.Event()
    asked: list[float] = []

    def ask_in_the_middle() -> None:
        try:
            wait_until(lambda: progress_of(run.dataset_id).state == "embedding", seconds=60, what="not embedding")
            ask(run, stop)
            asked.append(time.monotonic())
        finally:
            connection.close()

    asking = threading.Thread(target=ask_in_the_middle)
    asking.start()
    assert Runner(run.pk, stop).process() is outcome
    took = time.monotonic() - asked[0]
    asking.join()
    assert took < 5
    assert Job.objects.get(pk=run.pk).lease_token == ""


@pytest.mark.parametrize("database", ["free", "locked"])
def test_worker_ends_within_five_seconds_of_sigterm(tmp_path: Path, database: str) -> None:
    make_images(tmp_path / "images", 2, size=(30, 20))
    run = process_folder(tmp_path / "images", dataset_id="cats")
    if database == "locked" and connection.vendor != "sqlite":
        pytest.skip("only SQLite has one lock for all")
    with worker(tmp_path / "log", {"EMBEDDER": STUCK, "PIPELINE_PROCESSES": "1"}) as stuck:
        wait_until(lambda: progress_of(run.dataset_id).state == "embedding", seconds=60, what="not embedding")
        children = psutil.Process(stuck.pid).children(recursive=True)
        if database == "locked":
            locking = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
            locking.execute("BEGIN IMMEDIATE")
            time.sleep(2)  # until its main thread waits for the lock as well
        stuck.send_signal(signal.SIGTERM)
        began = time.monotonic()
        stuck.wait(30)
        assert time.monotonic() - began < 5
        if database == "locked":
            locking.close()
        _, alive = psutil.wait_procs(children, 5)
        assert not alive
    assert (Job.objects.get(pk=run.pk).lease_token == "") == (database == "free")
