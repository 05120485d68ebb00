"""However a loop, a process or a program ends: what was counted arrives, and the end is what it was."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from dataset_progress import Run, Stage, _run, track
from django.db import connection

from apps.progress import services
from apps.progress.models import Run as RunRow
from apps.progress.models import WorkerShare
from tests.services import wait_until

from .conftest import cancelled_in, shown, stands, until
from .test_harmless import bad_server, script
from .work import count_to

pytestmark = pytest.mark.usefixtures("address")


def program(code: str) -> subprocess.CompletedProcess[str]:
    """A program that reports to the tests' server."""
    return script(code, **{name: value for name, value in os.environ.items() if name.startswith("DATASET_PROGRESS_")})


# --- Loops that are left ----------------------------------------------------------------------------------------------


def test_a_loop_that_is_left_fails_with_how_far_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run, "LEFT_SECONDS", 0.1)
    for item in track(range(10), dataset="cats"):
        if item == 4:
            break
    assert until(lambda progress: progress.is_finished).error == "The loop was left after 4 of 10."


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("sys.exit('no disk')", "The loop was left after 4 of 10."),
        ("break", "The loop was left after 4 of 10."),
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
    assert (shown().state, shown().error) == ("error", error)


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


def test_what_is_only_a_sequence_can_be_gone_through() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise IndexError
            return index

    assert list(track(Old(), dataset="cats")) == [0, 1, 2]  # type: ignore[call-overload]
    assert (shown().state, shown().current) == ("ready", 3)


# --- Loops beside and within each other -------------------------------------------------------------------------------


def test_a_loop_within_a_loop_is_a_part_of_it() -> None:
    for _ in track(range(4), dataset="cats"):
        assert list(track(range(3), dataset="cats", stage="inner")) == [0, 1, 2]
    assert (shown().run, shown().state, shown().current) == (1, "ready", 4)
    assert [stage.name for stage in shown().stages] == ["indexing"]
    with Run("cats") as run:
        for _ in run.track(range(4)):
            assert list(run.track(range(3))) == [0, 1, 2]
    assert (shown().run, shown().current, shown().total) == (2, 4, 4)


def test_a_loop_in_the_block_of_a_run_is_a_stage_of_it() -> None:
    with Run("cats", stages=["load", "embedding"]):
        assert len(list(track(range(4), dataset="cats", stage="load"))) == 4
        assert until(lambda progress: progress.current == 4).state == "indexing"
        assert len(list(track(range(5), dataset="cats", stage="embedding"))) == 5
    assert (shown().run, shown().state) == (1, "ready")
    assert [(stage.name, stage.current) for stage in shown().stages] == [("load", 4), ("embedding", 5)]


def test_loops_side_by_side_are_one_run() -> None:
    barrier = threading.Barrier(4)

    def items() -> Iterator[int]:
        barrier.wait(30)
        yield from range(100)
        barrier.wait(30)

    def job() -> None:
        for _ in track(items(), dataset="cats", total=100):
            pass

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (shown().run, shown().state, shown().current, shown().total) == (1, "ready", 400, 400)


def test_a_planned_total_may_grow() -> None:
    with Run("cats", stages=[Stage("load", total=3)]) as run:
        assert len(list(run.track(range(5), stage="load"))) == 5
    assert [(stage.current, stage.total) for stage in shown().stages] == [(5, 5)]


def test_a_total_that_is_set_in_a_loop_is_the_total() -> None:
    with Run("cats") as run:
        for item in run.track(range(100)):
            if item in (1, 2, 3):
                run.set(total=50)
            if item == 50:
                assert until(lambda progress: progress.current == 50).total == 50
                run.set(total=200)
        assert until(lambda progress: progress.current == 100).total == 200


def test_small_numbers_of_numpy_are_added_up() -> None:
    with Run("cats") as run:
        for _ in range(3):
            run.advance(np.uint8(100))  # type: ignore[arg-type]
        run.advance(float("nan"))  # type: ignore[arg-type]
        run.advance(1)
        until(lambda progress: progress.current == 301)


def test_keys_and_workers_may_be_numbers() -> None:
    for worker in (0, 1, 0):
        with Run("cats", key=7, worker=worker, finish=False) as run:
            run.advance(10)
    until(lambda progress: progress.current == 20)
    assert sorted(WorkerShare.objects.values_list("worker", flat=True)) == ["0", "1"]


def test_threads_that_are_gone_leave_nothing_behind() -> None:
    with Run("cats") as run:
        for _ in range(200):
            thread = threading.Thread(target=run.advance)
            thread.start()
            thread.join()
        assert len(run._shares["indexing"].cells) < 10
    assert WorkerShare.objects.get().current == 200


# --- Processes --------------------------------------------------------------------------------------------------------

WORK = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from dataset_progress import Run

def work(number):
    RUN[0].advance()

RUN = []
"""


def test_workers_of_a_pool_that_is_terminated_have_said_their_last_word() -> None:
    code = """
with Run("cats") as run, multiprocessing.get_context("fork").Pool(2, RUN.append, [run]) as pool:
    pool.map(work, range(200))
"""
    ended = program(WORK + code)
    assert ended.returncode == 0, ended.stderr
    assert shown().state == "ready"
    assert sum(WorkerShare.objects.values_list("current", flat=True)) == 200


@pytest.mark.parametrize("middle", ["a count", "the last word"])
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
    if MIDDLE == "the last word":
        run._sender._closing = Interrupted()
        return
    with run._lock:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

with Run("cats", flush_seconds=10) as run:
    process = multiprocessing.get_context("fork").Process(target=job, args=[run])
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGTERM), process.exitcode
"""
    ended = program(WORK + code.replace("MIDDLE", repr(middle)))
    assert ended.returncode == 0, ended.stderr
    assert WorkerShare.objects.get(worker__gt="").current == 5


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
    assert "after 4 of 10" in (shown("dogs").error or "")


def test_a_loop_in_a_forked_process_is_a_stage_of_the_run_around_it() -> None:
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


def test_workers_that_outlive_the_run_are_waited_for() -> None:
    # Whatever the machine does, the time that they are given is enough.
    code = """
import time, types
from dataset_progress import _run, watch
given = []
def wait(seconds):
    given.append(seconds)
    for seen in watch("cats", "polling", 0.05):
        if seen.current == 200: break

context = multiprocessing.get_context("fork")
_run.time = types.SimpleNamespace(monotonic=time.monotonic, sleep=wait)
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
def test_processes_count_in_the_stage_under_way(method: str) -> None:
    with Run("cats", stages=["load", "encode"]) as run:
        run.stage("encode")
        context: Any = multiprocessing.get_context(method)
        process = context.Process(target=count_to, args=(run, 7))
        process.start()
        process.join()
        until(lambda progress: progress.current == 7)
    assert [(stage.name, stage.current) for stage in shown().stages] == [("load", 0), ("encode", 7)]


def test_where_no_thread_can_be_started_nothing_is_reported_and_nothing_breaks() -> None:
    code = """
import threading
from dataset_progress import track
def start(thread): raise RuntimeError("can't start new thread")
threading.Thread.start = start
assert list(track(range(3), dataset="cats")) == [0, 1, 2]
"""
    ended = program(code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("can't start new thread") == 1


# --- Event loops ------------------------------------------------------------------------------------------------------


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


def test_a_loop_after_one_that_was_left_counts() -> None:
    def until_it_has_begun() -> None:
        until(lambda progress: progress.run == 1, "dogs")
        connection.close()  # this thread's own

    async def job() -> None:
        async with Run("cats") as run:
            async for _ in run.track(numbers(9)):
                break
            async for _ in run.track(numbers(5)):
                pass
        async for _ in track(numbers(9), dataset="dogs"):
            await asyncio.to_thread(until_it_has_begun)
            break
        assert [item async for item in track(numbers(5), dataset="dogs")] == [0, 1, 2, 3, 4]

    asyncio.run(job())
    assert (shown().state, shown().current) == ("ready", 5)
    assert (shown("dogs").run, shown("dogs").state, shown("dogs").current) == (2, "ready", 5)


@pytest.mark.parametrize("way", ["track", "block"])
def test_leaving_holds_no_event_loop_up(way: str) -> None:
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def job(url: str) -> None:
        ticking = asyncio.create_task(tick())
        if way == "track":
            async for _ in track(numbers(3), dataset="cats", url=url, flush_seconds=2):
                pass
        else:
            async with Run("cats", url=url, flush_seconds=2) as run:
                run.advance()
        ticking.cancel()

    with bad_server("slow") as url:
        asyncio.run(job(url))
    assert turns > 20


def test_a_pause_and_a_cancellation_reach_an_event_loop() -> None:
    seen: list[int] = []

    async def forever() -> AsyncIterator[int]:
        while True:
            await asyncio.sleep(0.001)
            yield len(seen)

    async def job() -> None:
        async for item in track(forever(), dataset="cats"):
            seen.append(item)  # noqa: PERF401 -- watched while it grows

    ends = cancelled_in(lambda: asyncio.run(job()))
    until(lambda progress: progress.current > 0)
    row = RunRow.objects.get()
    services.request_pause(row.pk)
    wait_until(lambda: stands(seen), seconds=60, what="it did not hold")
    before = len(seen)
    services.request_resume(row.pk)
    wait_until(lambda: len(seen) > before, seconds=60, what="it did not go on")
    services.request_cancel(row.pk)
    assert len(ends()) == 1
    assert until(lambda progress: progress.is_finished).cancelled
