"""A real server on the tests' database, and the client that reports to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from dataset_progress import Cancelled, Run, _exits, _sender_thread
from dataset_progress._run import session_of

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.progress import selectors
from apps.progress.snapshot import DatasetProgress
from tests.processes import Server, web_server
from tests.repository import ROOT
from tests.services import wait_until

Shown = Callable[[], DatasetProgress]


@pytest.fixture(scope="package")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with web_server(tmp_path_factory.mktemp("client") / "log", env={"TOKEN_REQUESTS_A_SECOND": "0"}) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_warning_yet() -> None:
    """Let each test see the one warning of its process, and have all requests of a second."""
    _sender_thread._threads.clear()


@pytest.fixture
def address(server: Server, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server's address. Sets it and a token in the environment. Ends, with the test, what it has begun."""
    monkeypatch.setenv("DATASET_PROGRESS_URL", server.url)
    monkeypatch.setenv("DATASET_PROGRESS_TOKEN", issue_token("client")[1])
    monkeypatch.setenv("DATASET_PROGRESS_FLUSH_SECONDS", "60")  # a machine that stalls makes no promise false
    monkeypatch.setenv("DATASET_PROGRESS_LINGER", "0")
    yield server.url
    _exits._end_all()


def shown(dataset_id: str = "cats") -> DatasetProgress:
    """Return the progress of a dataset, from the database."""
    return selectors.progress_of(Dataset.objects.get(dataset_id=dataset_id).pk)


def until_silent(run: Run) -> None:
    """Wait for the sender of a run to end, so that it does not disturb the next test."""
    sender = session_of(run)._sender
    assert sender is not None
    assert sender._stopped.wait(60)


def stands(seen: list[int]) -> bool:
    """Return whether ``seen`` does not grow for half a second. Nothing else shows that a loop waits."""
    before = len(seen)
    time.sleep(0.5)
    return len(seen) == before


def stays(dataset_id: str = "cats") -> bool:
    """Return whether what the server knows of a dataset does not grow for a second."""
    before = shown(dataset_id).current
    time.sleep(1)
    return shown(dataset_id).current == before


def cancelled_in(job: Callable[[], object]) -> Callable[[], list[Cancelled]]:
    """Start ``job`` on a thread. The returned function waits for its end and returns the `Cancelled` that it raised."""
    ends: list[Cancelled] = []

    def through() -> None:
        try:
            job()
        except Cancelled as cancelled:
            ends.append(cancelled)

    thread = threading.Thread(target=through, daemon=True)
    thread.start()

    def wait() -> list[Cancelled]:
        thread.join(60)
        assert not thread.is_alive()
        return ends

    return wait


def until(condition: Callable[[DatasetProgress], bool], dataset_id: str = "cats") -> DatasetProgress:
    """Wait until ``condition`` holds. Return the progress of the dataset."""
    wait_until(
        lambda: Dataset.objects.filter(dataset_id=dataset_id).exists() and condition(shown(dataset_id)),
        seconds=90,  # a reporter that could not reach its server waits up to 30 until it tries again
        what=f"{dataset_id} was not as expected",
    )
    return shown(dataset_id)


def ended(dataset_id: str = "cats") -> DatasetProgress:
    """Wait until a dataset is ready or has failed, for which no plain loop waits. Return its progress."""
    return until(lambda progress: progress.is_finished, dataset_id)


def program(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program that reports to the tests' server."""
    passed = ("DATASET_PROGRESS_", "TMPDIR")
    return script(code, **{name: value for name, value in os.environ.items() if name.startswith(passed)})


def script(code: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has the client and nothing else of this project."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env={"PYTHONPATH": str(ROOT / "client/src"), **env},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


# What programs with worker processes begin with: each worker puts the run into RUN.
WORK = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from dataset_progress import Run

def work(number):
    RUN[0].advance()

RUN = []
"""
