"""Runs in processes that are forked or spawned, and forks at any moment."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
from dataset_progress import Run

from apps.progress.models import WorkerShare

from .conftest import WORK, program, script, shown, until
from .test_harmless import bad_server
from .work import count_to


def test_a_loop_in_a_forked_process_is_a_stage_of_the_run_around_it(address: str) -> None:
    code = """
from dataset_progress import track
def loop():
    for _ in track(range(10), dataset="cats", stage="encode"): pass

with Run("cats"):
    process = multiprocessing.get_context("fork").Process(target=loop)
    process.start()
    process.join()
"""
    ended = program(WORK + code)
    assert ended.returncode == 0, ended.stderr
    assert (shown().run, shown().state) == (1, "ready")
    assert [(stage.name, stage.current) for stage in shown().stages] == [("encode", 10)]


def test_workers_that_outlive_the_run_are_waited_for(address: str) -> None:
    # Whatever the machine does, the time that they are given is enough.
    code = """
import time, types
from dataset_progress import _session, watch
given = []
def wait(seconds):
    given.append(seconds)
    for seen in watch("cats", "polling", 0.05, wait=60):  # for the first report, too
        if seen.current == 200: break

context = multiprocessing.get_context("fork")
_session.time = types.SimpleNamespace(monotonic=time.monotonic, sleep=wait)
with Run("cats") as run:
    RUN.append(run)
    pool = ProcessPoolExecutor(2, context)
    list(pool.map(work, range(200)))
assert given == [0.5], given
"""
    ended = program(WORK + code)
    assert ended.returncode == 0, ended.stderr
    assert shown().state == "ready"
    assert sum(WorkerShare.objects.values_list("current", flat=True)) == 200


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_count_in_the_stage_under_way(address: str, method: str) -> None:
    with Run("cats", stages=["load", "encode"]) as run:
        run.stage("encode")
        context: Any = multiprocessing.get_context(method)
        process = context.Process(target=count_to, args=(run, 7))
        process.start()
        process.join()
        until(lambda progress: progress.current == 7)
    assert [(stage.name, stage.current) for stage in shown().stages] == [("load", 0), ("encode", 7)]


# --- Forks at any moment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_forked_process_does_not_stop_at_a_lock_of_openssl(scheme: str) -> None:
    # Each time it is forked at another moment of the reporter's first request.
    code = """
import hmac, os, random, signal, ssl, sys, time
from dataset_progress import Run
for _ in range(60):
    with Run("cats", url=sys.argv[1], flush_seconds=0):
        time.sleep(random.uniform(0, 0.03))
        if not (child := os.fork()):
            signal.alarm(20)
            hmac.new(b"key", b"what processes begin their talk with", "sha256")
            ssl.create_default_context()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "it hangs"
"""
    with bad_server("html") as url:
        ended = script(code, url.replace("http", scheme))
    assert ended.returncode == 0, ended.stderr


REPORTING = """
import httpx, os, threading
from dataset_progress import Run, _inherit
inside, let_go, lock = threading.Event(), threading.Event(), threading.Lock()

class Transport(httpx.BaseTransport):
    def handle_request(self, request):
        with lock:
            inside.set()
            let_go.wait()
        raise httpx.ConnectError("that was all")

def forked():
    if not (child := os.fork()):
        os._exit(not lock.acquire(timeout=0.1))
    return os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_waits_for_a_request_under_way() -> None:
    code = """
_inherit.MAX_FORK_DELAY_SECONDS = 30
with Run("cats", url="http://progress.invalid", transport=Transport(), flush_seconds=0):
    inside.wait()
    os.register_at_fork(before=let_go.set)  # runs first
    assert forked()
"""
    ended = script(REPORTING + code)
    assert ended.returncode == 0, ended.stderr


def test_a_fork_does_not_wait_for_a_server_that_hangs() -> None:
    code = """
with Run("cats", url="http://progress.invalid", transport=Transport(), flush_seconds=0):
    inside.wait()
    assert not any([forked() for _ in range(20)])
    let_go.set()
"""
    ended = script(REPORTING + code)
    assert ended.returncode == 0, ended.stderr


def test_everything_is_there_once_a_run_has_begun() -> None:
    # A process that is forked while another thread imports httpx would never get the other half.
    code = """
import sys
from dataset_progress import Run
assert "httpx" not in sys.modules
with Run("cats", url="http://127.0.0.1:9", flush_seconds=0):
    assert hasattr(sys.modules["httpx"], "Client")
"""
    ended = script(code)
    assert ended.returncode == 0, ended.stderr
