"""Programs that belong together share a run, and nobody ends or replaces a run that others report."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Any

import pytest
from dataset_progress import Run, _sender, _sender_thread, track
from dataset_progress._launchers import VARIABLES
from django.utils import timezone

from apps.progress.models import Run as RunRow
from apps.progress.models import RunMember, WorkerShare
from tests.repository import ROOT
from tests.services import free_port, wait_until

from .conftest import program, script, shown, until
from .test_refusals import MockServer

WORKS = 'from dataset_progress import track\nfor _ in track(range(10), dataset="cats"): pass'


def silence() -> None:
    """Make it an hour since anybody was heard of the run."""
    hour_ago = timezone.now() - timedelta(hours=1)
    RunRow.objects.update(created_at=hour_ago, heartbeat_at=hour_ago, progressed_at=hour_ago, updated_at=hour_ago)
    RunMember.objects.update(joined_at=hour_ago, heard_at=hour_ago)


# --- One job ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "7", "OMPI_MCA_ess_base_jobid": "1"}),
        ({"SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "8"}, {"SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "9"}),
        ({"PBS_JOBID": "12[1].host"}, {"PBS_JOBID": "12[2].host"}),
        ({"LSB_JOBID": "7"}, {"LSB_JOBID": "7"}),
        ({"TORCHELASTIC_RUN_ID": "tune"}, {"TORCHELASTIC_RUN_ID": "tune"}),
        ({"OMPI_MCA_ess_base_jobid": "7"}, {"OMPI_MCA_ess_base_jobid": "7"}),
        ({"PMIX_NAMESPACE": "prterun-host-7@1"}, {"PMIX_NAMESPACE": "prterun-host-7@1"}),
        ({"DATASET_PROGRESS_KEY": "7", "SLURM_JOB_ID": "1"}, {"DATASET_PROGRESS_KEY": "7", "SLURM_JOB_ID": "2"}),
    ],
)
def test_the_processes_of_a_job_share_a_run_however_long_it_is_silent(
    first: dict[str, str], second: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "DATASET_PROGRESS_KEY", *VARIABLES
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    with Run("cats") as run:
        run.advance(3)
        until(lambda progress: progress.current == 3)
        silence()
        for name in names:
            monkeypatch.delenv(name, raising=False)
        for name, value in second.items():
            monkeypatch.setenv(name, value)
        with Run("cats") as another:
            another.advance(4)
            until(lambda progress: progress.current == 7)
    assert (shown().run, shown().state, shown().current) == (1, "ready", 7)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "8"}),
        ({"SLURM_JOB_ID": "7"}, {"PBS_JOBID": "7"}),
        ({"TORCHELASTIC_RUN_ID": "none"}, {"TORCHELASTIC_RUN_ID": "none"}),
    ],
)
def test_other_jobs_do_not_share_a_run_that_is_silent(
    first: dict[str, str], second: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    run = Run("cats")
    run.advance(3)
    until(lambda progress: progress.current == 3)
    silence()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in second.items():
        monkeypatch.setenv(name, value)
    with Run("cats") as another:
        another.advance(4)
    assert (shown().run, shown().state, shown().current) == (2, "ready", 4)
    run.close()


def test_a_job_that_reports_again_begins_another_run(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for number in range(1, 4):
        list(track(range(5), dataset="cats", linger=0))
        progress = until(lambda progress, number=number: progress.run == number and progress.is_finished)  # type: ignore[misc]  # mypy infers no type for a default of a lambda
        assert (progress.state, progress.current) == ("ready", 5)


# --- A live sibling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"key": "other"}, {"key": "other", "finish": False}, {"finish": False}, {"key": "other", "worker": "w"}]
)
def test_a_run_that_others_report_is_joined_and_not_ended(options: dict[str, Any], address: str) -> None:
    with Run("cats") as first:
        first.advance(2)
        until(lambda progress: progress.current == 2)
        with Run("cats", **options) as second:
            second.advance(3)
            until(lambda progress: progress.current == 5)
        assert RunMember.objects.filter(left_at=None).count() == 1
        assert (shown().run, shown().is_finished) == (1, False)
    assert (shown().run, shown().state) == (1, "ready")
    assert sorted(WorkerShare.objects.values_list("current", flat=True)) == [2, 3]


def test_a_copy_of_a_run_that_has_joined_another_counts_there(address: str) -> None:
    code = """
from dataset_progress import Run
import multiprocessing
from tests.client.work import count_to
if __name__ == "__main__":
    with Run("cats", key="other") as run:
        run.advance(1)
        for method in ("fork", "spawn"):
            process = multiprocessing.get_context(method).Process(target=count_to, args=(run, 10))
            process.start()
            process.join()
"""
    with Run("cats") as first:
        first.advance(2)
        until(lambda progress: progress.current == 2)
        ended = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": f"{ROOT / 'client/src'}:{ROOT}"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert (shown().run, shown().is_finished, shown().current) == (1, False, 23)
    assert (shown().run, shown().state) == (1, "ready")


# --- Loops in the workers of a pool -----------------------------------------------------------------------------------

POOL = """
import io, multiprocessing, time
from dataset_progress import track
from dataset_progress.tqdm import capture_tqdm, tqdm
from tqdm import tqdm as plain

def captured(number):
    for _ in plain(range(5), desc="pages", file=io.StringIO()): time.sleep(0.001)
def dropped_in(number):
    for _ in tqdm(range(5), desc="pages", dataset="cats", file=io.StringIO()): time.sleep(0.001)
def tracked(number):
    for _ in track(range(5), dataset="cats", stage="pages"): time.sleep(0.001)
"""
OUTER = {
    "captured": 'plain(tasks, total=40, desc="files", file=io.StringIO())',
    "dropped_in": 'tqdm(tasks, total=40, desc="files", dataset="cats", file=io.StringIO())',
    "tracked": 'track(tasks, total=40, stage="files", dataset="cats")',
}


@pytest.mark.parametrize("way", OUTER)
def test_loops_in_workers_are_parts_of_the_loop_around_them(way: str, address: str) -> None:
    code = f"""
context = multiprocessing.get_context("fork")
if "{way}" == "captured":
    with capture_tqdm("cats"), context.Pool(2) as pool:
        for _ in range(2):
            tasks = pool.imap_unordered({way}, range(40))
            for _ in {OUTER[way]}: pass
else:
    with context.Pool(2) as pool:
        for _ in range(2):
            tasks = pool.imap_unordered({way}, range(40))
            for _ in {OUTER[way]}: pass
"""
    ended = program(POOL + code)
    assert ended.returncode == 0, ended.stderr
    assert (shown().run, shown().state) == (1, "ready")
    assert [(stage.name, stage.current) for stage in shown().stages] == [("files", 80)]


def test_loops_in_workers_count_where_there_is_none_around_them(address: str) -> None:
    code = """
with capture_tqdm("cats"):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=captured, args=[0]) for _ in range(3)]
    for process in processes: process.start()
    for process in processes: process.join()
"""
    ended = program(POOL + code)
    assert ended.returncode == 0, ended.stderr
    assert (shown().state, sum(WorkerShare.objects.values_list("current", flat=True))) == ("ready", 15)


# --- Many datasets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def down() -> str:
    return f"http://127.0.0.1:{free_port()}"


def test_one_thread_reports_on_all_datasets(down: str) -> None:
    code = """
import sys, threading
from dataset_progress import Run, track
from dataset_progress._sender_thread import MAX_TASKS
for number in range(MAX_TASKS + 200):
    for _ in track(range(3), dataset=f"d{number}", linger=0): pass
runs = [Run(f"r{number}") for number in range(20)]
for run in runs: run.advance()
assert threading.active_count() == 2, threading.enumerate()
from dataset_progress._session import _sessions
import gc; gc.collect()
assert len(list(_sessions)) <= MAX_TASKS + 30, len(list(_sessions))
"""
    ended = script(code, DATASET_PROGRESS_URL=down, DATASET_PROGRESS_FLUSH_SECONDS="0.1")
    assert (ended.returncode, ended.stderr.count("progress is not reported")) == (0, 1), ended.stderr


def test_many_datasets_all_arrive(address: str) -> None:
    before = threading.active_count()
    runs = [Run(f"d{number}") for number in range(8)]
    for number, run in enumerate(runs):
        run.advance(number)
    assert threading.active_count() <= before + 1
    for run in runs:
        assert run.close()
    assert [shown(f"d{number}").current for number in range(8)] == list(range(8))


def test_a_run_that_the_server_has_never_heard_of_arrives_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sender, "MAX_BACKOFF_SECONDS", 0.1)
    server = MockServer()
    is_back = threading.Event()

    def refuse(request: object) -> Any:
        if not is_back.is_set():
            raise OSError("down")

    server.trouble = refuse
    with server.run(flush_seconds=0) as run:
        run.advance(3)
    wait_until(lambda: len(server.asked) > 3, seconds=60, what="it gave up")
    is_back.set()
    wait_until(lambda: any("state" in update for update in server.updates), seconds=60, what="nothing arrived")
    assert [update["current"] for update in server.updates if "current" in update] == [3]
    thread = _sender_thread._threads[server.url]
    wait_until(lambda: thread._thread is None, seconds=60, what="a thread was left")
