"""Tracked loops that are left early, nested, concurrent, and in event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from dataset_progress import Run, _session, track
from django.db import connection

from apps.progress import services
from apps.progress.models import Run as RunRow
from tests.services import wait_until

from .conftest import cancelled_in, shown, stands, until
from .test_harmless import bad_server

pytestmark = pytest.mark.usefixtures("address")


def test_a_loop_that_is_left_fails_with_how_far_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "ABANDON_SECONDS", 0.1)
    for item in track(range(10), dataset="cats"):
        if item == 4:
            break
    assert until(lambda progress: progress.is_finished).error == "The loop was left after 4 of 10."


def test_what_is_only_a_sequence_can_be_gone_through() -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise IndexError
            return index

    assert list(track(Old(), dataset="cats")) == [0, 1, 2]  # type: ignore[call-overload]  # has no __iter__
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
