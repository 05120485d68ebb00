"""When a program or a worker process ends, what it has counted arrives, and the run ends with the right state."""

from __future__ import annotations

import pytest

from apps.progress.models import WorkerShare

from .conftest import WORK, program, shown

pytestmark = pytest.mark.usefixtures("address")


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("raise OSError('disk full')", "OSError: disk full"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_a_program_that_ends_in_the_middle_of_its_loop(end: str, error: str) -> None:
    program(
        "import sys\n"
        "from dataset_progress import track\n"
        "for item in track(range(10), dataset='cats'):\n"
        f"    if item == 4: {end}\n"
    )
    assert (shown().state, (shown().error or "").splitlines()[0]) == ("error", error)


def test_a_program_that_dies_says_why() -> None:
    code = """
from dataset_progress import track
for item in track(range(10), dataset="cats"):
    if item == 4:
        raise ValueError("a bad item")
"""
    ended = program(code)
    assert ended.returncode == 1
    assert "ValueError: a bad item" in ended.stderr
    assert (shown().state, shown().current) == ("error", 4)
    assert (shown().error or "").startswith('ValueError: a bad item\n  File "<string>", line 5, in <module>')


def test_a_run_that_nobody_closed_is_ready_if_it_is_through() -> None:
    code = """
import sys
sys.last_exc = sys.last_value = ValueError("of an hour ago")
from dataset_progress import Run
run = Run("cats"); run.set(total=3); run.advance(DONE)
"""
    assert program(code.replace("DONE", "3")).returncode == 0
    assert shown().state == "ready"
    program(code.replace("DONE", "2"))
    assert (shown().run, shown().error) == (2, "The program ended after 2 of 3.")


def test_workers_of_a_pool_that_is_terminated_have_said_their_last_word() -> None:
    code = """
with Run("cats") as run, multiprocessing.get_context("fork").Pool(2, RUN.append, [run]) as pool:
    pool.map(work, range(200))
"""
    ended = program(WORK + code)
    assert ended.returncode == 0, ended.stderr
    assert shown().state == "ready"
    assert sum(WorkerShare.objects.values_list("current", flat=True)) == 200


@pytest.mark.parametrize("middle", ["a count", "a close", "the last word"])
def test_a_process_that_is_terminated_in_the_middle_of_something_says_its_last_word_too(middle: str) -> None:
    code = """
import os, signal, threading, time

class Interrupted(threading.Event):
    def set(self):
        with self._cond:
            os.kill(os.getpid(), signal.SIGTERM)
        super().set()

def job(run):
    run.advance(5)
    if MIDDLE != "a count":
        run._session._sender._thread._changed = Interrupted()
        if MIDDLE == "a close":
            run.close()
        return
    with run._session.counts.lock:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

with Run("cats", flush_seconds=600) as run:
    process = multiprocessing.get_context("fork").Process(target=job, args=[run])
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGTERM), process.exitcode
"""
    ended = program(WORK + code.replace("MIDDLE", repr(middle)))
    assert ended.returncode == 0, ended.stderr
    assert WorkerShare.objects.get(worker__gt="").current == 5


def test_a_process_is_terminated_even_if_the_signal_does_not_reach_the_thread_that_waits() -> None:
    code = """
import signal, threading

def job(run):
    run.advance(5)
    other = threading.Thread(target=threading.Event().wait, daemon=True)
    other.start()
    signal.pthread_kill(other.ident, signal.SIGTERM)
    threading.Event().wait()

with Run("cats", flush_seconds=10) as run:
    process = multiprocessing.get_context("fork").Process(target=job, args=[run])
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGTERM, process.exitcode
"""
    ended = program(WORK + code)
    assert ended.returncode == 0, ended.stderr
    assert WorkerShare.objects.get(worker__gt="").current == 5


@pytest.mark.parametrize("end", ["terminated", "its own"])
def test_a_worker_of_a_worker_ends_alone_and_says_its_last_word(end: str) -> None:
    code = """
import signal, time

def inner(run, pipe):
    run.advance(3)
    pipe.send("there")
    if END == "terminated":
        time.sleep(600)

def outer(run):
    run.advance(2)
    here, there = multiprocessing.Pipe()
    process = context.Process(target=inner, args=(run, there))
    process.start()
    here.recv()
    if END == "terminated":
        process.terminate()
    process.join()
    assert process.exitcode == (-signal.SIGTERM if END == "terminated" else 0), process.exitcode

context = multiprocessing.get_context("fork")
with Run("cats", flush_seconds=10) as run:
    process = context.Process(target=outer, args=[run])
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
"""
    ended = program(WORK + code.replace("END", repr(end)))
    assert ended.returncode == 0, ended.stderr
    assert sorted(WorkerShare.objects.values_list("current", flat=True)) == [2, 3]


@pytest.mark.parametrize("own", ["signal.signal(signal.SIGTERM, print)", "signal.set_wakeup_fd(there.fileno())"])
def test_a_worker_keeps_its_own_handling_of_signals(own: str) -> None:
    code = """
import signal, socket

def job(run):
    here, there = socket.socketpair()
    there.setblocking(False)
    OWN
    before = signal.getsignal(signal.SIGTERM)
    run.advance(5)
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == (there.fileno() if "wakeup" in "OWN" else -1)

with Run("cats") as run:
    process = multiprocessing.get_context("fork").Process(target=job, args=[run])
    process.start()
    process.join()
    assert process.exitcode == 0
"""
    ended = program(WORK + code.replace("OWN", own))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("end", ["terminated", "an exception"])
def test_a_run_that_a_worker_has_begun_is_not_ready_when_the_worker_ends(end: str) -> None:
    code = """
import time
from dataset_progress import track

def loop(pipe, end):
    for item in track(range(10), dataset="dogs"):
        if item == 4:
            pipe.send("there")
            if end == "terminated": time.sleep(600)
            raise OSError("disk full")

with Run("cats") as run:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=loop, args=(there, END))
    process.start()
    here.recv()
    time.sleep(0.5)
    process.terminate()
    process.join()
"""
    ended = program(WORK + code.replace("END", repr(end)))
    assert ended.returncode == 0, ended.stderr
    assert shown().state == "ready"
    assert (shown("dogs").state, shown("dogs").current) == ("error", 4)
    expected = "The program ended after 4 of 10." if end == "terminated" else "OSError: disk full"
    assert (shown("dogs").error or "").startswith(expected)
