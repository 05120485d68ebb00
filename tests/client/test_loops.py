"""Tracked loops that are left early, nested, concurrent, and in event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from dataset_progress import Cancelled, Run, _track, track
from dataset_progress._run import session_of
from django.db import connection

from apps.progress import services
from apps.progress.models import Run as RunRow
from apps.progress.models import WorkerShare
from tests.services import wait_until

from .conftest import cancelled_in, ended, program, shown, stands, until
from .test_harmless import bad_server

pytestmark = pytest.mark.usefixtures("address")


# Loops over ten items that are left, each of a dataset of its own; the last two by the end of the program.
WAYS = """
import itertools, sys
DEFINITION
for item in loop(range(10), "break"):
    if item == 4: break
list(itertools.islice(loop(range(10), "islice"), 5))
def job():
    for item in loop(range(10), "return"):
        if item == 4: return
job()
try:
    for item in loop(range(10), "caught"):
        if item == 4: raise KeyError
except KeyError: pass
for _ in zip(range(10), loop(range(10), "zip")): pass
through = iter(loop(range(10), "through"))
for _ in range(10): next(through)
kept = iter(loop(range(10), "next"))
for _ in range(5): next(kept)
for item in loop(range(10), "exit"):
    if item == 4: sys.exit(0)
"""
TRACK = "from dataset_progress import track\ndef loop(items, name): return track(items, dataset=name)"
TQDM = "from dataset_progress.tqdm import tqdm\ndef loop(items, name): return tqdm(items, dataset=name)"


@pytest.mark.parametrize("definition", [TRACK, TQDM], ids=["track", "tqdm"])
def test_a_loop_that_is_left_is_a_success(definition: str) -> None:
    assert program(WAYS.replace("DEFINITION", definition)).returncode == 0
    told = {name: (shown(name).state, shown(name).message) for name in ("zip", "through")}
    assert told == dict.fromkeys(told, ("ready", ""))
    left = ("break", "islice", "return", "caught", "next", "exit")
    told = {name: (shown(name).state, shown(name).message) for name in left}
    assert told == dict.fromkeys(left, ("ready", "Stopped at 5 of 10."))
    assert sorted(WorkerShare.objects.values_list("current", flat=True)) == [5] * 6 + [10] * 2


def test_an_exception_that_leaves_a_task_is_an_error() -> None:
    async def job() -> None:
        async for item in track(numbers(10), dataset="cats", linger=60):
            if item == 4:
                await asyncio.to_thread(until, lambda progress: progress.current == 4)
                raise ValueError("a bad row")

    async def main() -> None:
        await asyncio.gather(job(), return_exceptions=True)
        await asyncio.to_thread(ended)

    asyncio.run(main())
    assert (shown().error or "").startswith("ValueError: a bad row")
    assert shown().current == 4


def _the_run() -> Run:
    """Return the run of the loops."""
    return next(group.run for group in _track._groups.values() if not session_of(group.run).is_closed)


# --- One run ----------------------------------------------------------------------------------------------------------


def test_loops_that_follow_each_other_are_one_run() -> None:
    for number in range(3):
        for stage in ("load", "encode"):
            list(track(range(5), dataset="cats", stage=stage, linger=1))
            if number == 0:
                until(lambda progress: progress.current == 5)
    assert (ended().run, shown().state) == (1, "ready")
    assert [(stage.name, stage.current) for stage in shown().stages] == [("load", 15), ("encode", 15)]
    list(track(range(5), dataset="cats"))
    assert until(lambda progress: progress.run == 2).state != "error"


def test_a_run_after_a_loop_does_not_cancel_the_run_of_the_loop() -> None:
    list(track(range(5), dataset="cats", linger=60))
    with Run("cats") as run:
        run.advance(2)
    assert (shown().run, shown().state) == (2, "ready")
    first = RunRow.objects.get(number=1)
    assert (first.state, first.cancelled) == ("ready", False)


def test_after_a_run_that_was_cancelled_the_next_loop_begins_another() -> None:
    def job() -> None:
        for item in track(range(10), dataset="cats", linger=60):
            if item == 4:
                until(lambda progress: progress.current == 4)
                services.cancel(RunRow.objects.get().pk)
                wait_until(lambda: session_of(_the_run()).control.is_requested, seconds=60, what="it was not heard")

    with pytest.raises(Cancelled):
        job()
    list(track(range(3), dataset="cats"))
    assert until(lambda progress: progress.run == 2 and progress.is_finished).state == "ready"
    assert shown().current == 3


def test_a_loop_hears_of_a_cancellation_before_it() -> None:
    list(track(range(3), dataset="cats", linger=60))
    until(lambda progress: progress.current == 3)
    services.cancel(RunRow.objects.get().pk)
    session = session_of(_the_run())
    session.counts.message = "what it says next is refused"
    wait_until(lambda: session.control.is_requested, seconds=60, what="it was not heard")
    with pytest.raises(Cancelled):
        list(track(range(3), dataset="cats", linger=60))


def test_what_is_only_a_sequence_can_be_gone_through() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise IndexError
            return index

    assert list(track(Old(), dataset="cats")) == [0, 1, 2]  # type: ignore[call-overload]  # has no __iter__
    assert (ended().state, shown().current) == ("ready", 3)


# --- Loops beside and within each other -------------------------------------------------------------------------------


def test_a_loop_within_a_loop_is_a_part_of_it() -> None:
    for _ in track(range(4), dataset="cats"):
        assert list(track(range(3), dataset="cats", stage="inner")) == [0, 1, 2]
    assert (ended().run, shown().state, shown().current) == (1, "ready", 4)
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
    assert (ended().run, shown().state, shown().current, shown().total) == (1, "ready", 400, 400)


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
        async for _ in track(numbers(9), dataset="dogs", linger=5):
            await asyncio.to_thread(until_it_has_begun)
            break
        assert [item async for item in track(numbers(5), dataset="dogs")] == [0, 1, 2, 3, 4]

    asyncio.run(job())
    assert (shown().state, shown().current) == ("ready", 6)
    assert (ended("dogs").run, shown("dogs").state, shown("dogs").current) == (1, "ready", 6)


def test_an_asynchronous_loop_that_never_begins_counts_nothing() -> None:
    with Run("cats", stages=["main"]) as run:
        run.advance(4)
        run.track(numbers(9), stage="never")
    assert [(stage.name, stage.current) for stage in shown().stages] == [("main", 4)]


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
    assert turns > 20 or way == "track"  # which does not wait at all


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
