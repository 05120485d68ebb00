"""Ctrl-C and the shutdown of a notebook end a paused job, as they end one that nobody has paused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from apps.progress import services
from apps.progress.models import Run
from tests.repository import ROOT

from .conftest import ended, stays, until

pytestmark = pytest.mark.usefixtures("address")

BY_HAND = """
import time
from concurrent.futures import ThreadPoolExecutor
from dataset_progress import Run

def work(number):
    time.sleep(0.01)
    run.advance()

with Run("cats") as run, ThreadPoolExecutor(2) as pool:
    run.set(total=3000)
    list(pool.map(work, range(3000)))
"""
MAPS = """
import io, time
from dataset_progress.tqdm import capture_tqdm, tqdm
from tqdm.contrib.concurrent import process_map, thread_map

"""
OPTIONS = "[0.01] * 3000, max_workers=2, file=io.StringIO()"
THREADS = f"{MAPS}thread_map(time.sleep, {OPTIONS}, tqdm_class=tqdm, dataset='cats')"
PROCESSES = f"{MAPS}process_map(time.sleep, {OPTIONS}, tqdm_class=tqdm, dataset='cats', chunksize=1)"
CAPTURED = f"{MAPS}with capture_tqdm('cats'): thread_map(time.sleep, {OPTIONS})"
# The interpreter waits for the thread.
IN_A_THREAD = """
import threading, time
from dataset_progress import track

def work():
    for _ in track(range(300), dataset="cats"): time.sleep(0.01)

threading.Thread(target=work).start()
"""
each_pool = pytest.mark.parametrize(
    "job", [BY_HAND, THREADS, PROCESSES, CAPTURED], ids=["by hand", "threads", "processes", "captured"]
)


def pause() -> None:
    until(lambda progress: progress.current > 0)
    services.request_pause(Run.objects.get().pk)
    until(lambda progress: stays())


def start(code: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "client/src")}
    return subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True)


@each_pool
def test_an_interrupted_program_does_not_wait_for_a_paused_pool(job: str) -> None:
    with start(job) as process:
        pause()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT, errors
    assert "exception calling callback" not in errors
    progress = ended()
    assert (progress.state, (progress.error or "").splitlines()[0]) == ("error", "KeyboardInterrupt")
    assert progress.current < 3000 / 2  # what was never begun is not counted


@pytest.mark.parametrize("job", [BY_HAND, THREADS, IN_A_THREAD], ids=["by hand", "threads", "in a thread"])
def test_a_notebook_that_is_shut_down_does_not_wait_for_a_paused_job(
    job: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "client/src"))
    manager = KernelManager(kernel_name="python3", connection_file=str(tmp_path / "kernel.json"))
    manager.shutdown_wait_time = 120  # then it would be killed
    manager.start_kernel()
    try:
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        client.execute(job)
        pause()
        client.stop_channels()
        manager.shutdown_kernel()
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
    assert ended().state in ("ready", "error")  # a kernel that is killed says nothing
