"""A program that is killed is said to be, by the next one on its machine that reports on the dataset."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dataset_progress._membership import DIED

from apps.datasets.services import issue_token
from apps.progress.models import Run as RunRow
from apps.progress.models import WorkerShare
from tests.processes import web_server
from tests.repository import ROOT
from tests.services import free_port

from .conftest import program, shown, until

# Counts four of ten items, and waits.
HANGS = """
import time
from dataset_progress import track
for item in track(range(10), dataset="cats"):
    if item == 4: time.sleep(600)
"""
# Counts ten of ten.
WORKS = 'from dataset_progress import track\nfor _ in track(range(10), dataset="cats"): pass'


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of the programs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"dataset-progress-{os.getuid()}"


@contextmanager
def hanging(code: str = HANGS) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program that hangs, and kill it at the end of the block."""
    env = {name: value for name, value in os.environ.items() if name.startswith(("DATASET_PROGRESS_", "TMPDIR"))}
    process = subprocess.Popen([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "client/src"), **env})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_program_that_is_killed_and_started_again_begins_anew(address: str, files: Path) -> None:
    with hanging():
        until(lambda progress: progress.current == 4)
        assert len(list(files.iterdir())) == 1
    assert program(WORKS).returncode == 0
    first = RunRow.objects.get(number=1)
    assert (first.state, first.error) == ("error", DIED)
    assert (shown().run, shown().state, shown().current, shown().total) == (2, "ready", 10, 10)
    assert list(files.iterdir()) == []


def test_a_program_that_only_stands_still_is_joined(address: str) -> None:
    with hanging() as process:
        until(lambda progress: progress.current == 4)
        process.send_signal(signal.SIGSTOP)
        assert program(WORKS).returncode == 0
        assert (shown().run, shown().state, shown().current) == (1, "indexing", 14)


def test_others_that_share_the_run_go_on_and_it_ends_with_them(address: str) -> None:
    with hanging(), hanging() as second:
        until(lambda progress: progress.current == 8)
        second.kill()
        second.wait()
        assert program(WORKS).returncode == 0
        assert (shown().run, shown().state, shown().current) == (1, "indexing", 18)
    assert program(WORKS).returncode == 0
    assert [(run.state, run.error) for run in RunRow.objects.order_by("number")] == [("error", DIED), ("ready", "")]


def test_with_a_key_the_run_goes_on(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_KEY", "job")
    with hanging():
        until(lambda progress: progress.current == 4)
    assert program(WORKS).returncode == 0
    assert (shown().run, shown().state) == (1, "ready")
    assert sorted(WorkerShare.objects.values_list("current", flat=True)) == [4, 10]


def test_a_named_share_goes_on_where_it_was(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_KEY", "job")
    named = 'dataset="cats", worker="part 1"'
    with hanging(HANGS.replace('dataset="cats"', named)):
        until(lambda progress: progress.current == 4)
    assert program(WORKS.replace('dataset="cats"', named)).returncode == 0
    assert (shown().run, shown().state, shown().current, shown().total) == (1, "ready", 10, 10)


def test_an_end_that_the_server_never_heard_is_said_by_the_next(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("DATASET_PROGRESS_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("DATASET_PROGRESS_TOKEN", issue_token("client")[1])
    monkeypatch.setenv("DATASET_PROGRESS_FLUSH_SECONDS", "0.1")
    ends = HANGS.replace("time.sleep(600)", "input()\n    if item == 6: break")
    with web_server(tmp_path / "first", port=port):
        process = subprocess.Popen(
            [sys.executable, "-c", ends], env={**os.environ, "PYTHONPATH": str(ROOT / "client/src")},
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        until(lambda progress: progress.current == 4)
    process.communicate(b"\n", timeout=60)
    monkeypatch.setenv("DATASET_PROGRESS_FLUSH_SECONDS", "60")
    with web_server(tmp_path / "second", port=port):
        assert program(WORKS).returncode == 0
        first = RunRow.objects.get(number=1)
        assert (first.state, first.message) == ("ready", "Stopped at 7 of 10.")
        assert (shown().run, shown().state, shown().current) == (2, "ready", 10)


@pytest.mark.parametrize("folder", ["missing", "open to all", "a file"])
def test_without_a_folder_of_its_own_a_program_reports_all_the_same(
    folder: str, address: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if folder == "missing":
        monkeypatch.setenv("TMPDIR", "/proc")
    elif folder == "a file":
        files.write_text("")
    else:
        files.mkdir()
        files.chmod(0o777)
    ended = program(WORKS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (shown().state, shown().current) == ("ready", 10)
    assert folder != "open to all" or list(files.iterdir()) == []
