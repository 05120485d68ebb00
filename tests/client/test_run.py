"""What a job reports arrives: from loops, stages, threads, processes and event loops."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from dataset_progress import Cancelled, Run, Stage, track
from django.contrib.auth.models import User
from django.utils import timezone

from apps.datasets.access.sharing import sharing_of
from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import ItemFailure, WorkerShare
from apps.progress.models import Run as RunRow

from .conftest import ended, program, shown, stands, until
from .work import count_to

pytestmark = pytest.mark.usefixtures("address")


def test_two_lines() -> None:
    assert list(track(range(50), dataset="cats")) == list(range(50))
    progress = ended()
    assert (progress.state, progress.current, progress.total, progress.percent) == ("ready", 50, 50, 100.0)
    assert [stage.name for stage in progress.stages] == ["indexing"]


def test_the_loop_is_seen_while_it_goes_on() -> None:
    for item in track(range(10), dataset="cats", stage="embedding"):
        if item == 7:
            progress = until(lambda progress: progress.current == 7)
            assert (progress.state, progress.total) == ("embedding", 10)


def test_what_is_iterated_over_needs_no_length() -> None:
    assert sum(track((n for n in range(10)), dataset="cats")) == 45
    assert (ended().state, shown().current, shown().total) == ("ready", 10, 10)


def test_an_exception_of_the_iterable_fails_the_run_and_goes_on_its_way() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(track(items(), dataset="cats"))
    error = ended().error or ""
    assert error.startswith("OSError: disk full\n")
    assert 'raise OSError("disk full")' in error
    assert "dataset_progress" not in error


def test_run_says_where_it_is_reported_from() -> None:
    with Run("cats", link="https://jobs.example/7") as run:
        run.set(1)
    ended()
    row = RunRow.objects.get()
    assert row.link == "https://jobs.example/7"
    assert (row.origin["host"], row.origin["process"]) == (socket.gethostname(), os.getpid())
    assert row.origin["client"].startswith("dataset-progress")
    assert row.origin.keys() == {"host", "process", "client", "python"}


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://", "x", 7])
def test_link_that_is_no_web_page_is_not_sent(link: Any) -> None:
    with Run("cats", link=link) as run:
        run.set(1)
    assert ended().state == "ready"
    assert RunRow.objects.get().link == ""


def test_stages_with_weights() -> None:
    stages = [Stage("load", total=4, unit="files"), Stage("encode", weight=3, counts_as="embedding")]
    with Run("cats", stages=stages) as run:
        for _ in run.track(range(4)):
            pass
        until(lambda progress: progress.percent == 25.0)
        for _ in run.track(range(6), stage="encode"):
            pass
        until(lambda progress: progress.current == 6)
        assert shown().state == "embedding"
    progress = shown()
    assert progress.state == "ready"
    assert [(stage.name, stage.label, stage.current, stage.total) for stage in progress.stages] == [
        ("load", "load", 4, 4),
        ("encode", "encode", 6, 6),
    ]


def test_a_block_that_raises_fails_the_run() -> None:
    def job() -> float:
        with Run("cats", traceback=False) as run:
            run.advance(3)
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        job()
    assert (shown().state, shown().error) == ("error", "ZeroDivisionError: division by zero")
    assert shown().current == 3


@pytest.mark.parametrize(("code", "state"), [(0, "ready"), (None, "ready"), (3, "error"), ("no disk", "error")])
def test_leaving_the_program_is_an_error_if_its_status_is_one(code: Any, state: str) -> None:
    def job() -> None:
        with Run("cats"):
            sys.exit(code)

    with pytest.raises(SystemExit):
        job()
    assert shown().state == state


def test_counting_setting_saying_and_failing_items() -> None:
    with Run("cats") as run:
        run.advance()
        run.advance(4)
        assert until(lambda progress: progress.current == 5).total == 0
        run.set(20, 40, "Half of it")
        progress = until(lambda progress: progress.message == "Half of it")
        assert (progress.current, progress.total) == (20, 40)
        run.fail_item("a.jpg", ValueError("truncated"))
        run.fail_item("b.jpg")
    assert (shown().state, shown().failed, shown().current) == ("ready", 2, 20)
    assert set(ItemFailure.objects.values_list("item", "reason")) == {("a.jpg", "truncated"), ("b.jpg", "")}


def test_more_failures_than_are_sent_at_once() -> None:
    with Run("cats", flush_seconds=30) as run:
        for number in range(250):
            run.fail_item(f"{number}.jpg")
    assert (shown().failed, ItemFailure.objects.count()) == (250, 250)


def test_a_second_run_joins_the_first_and_ends_with_it() -> None:
    first = Run("cats")
    first.advance(2)
    until(lambda progress: progress.current == 2)
    with Run("cats") as second:
        second.advance(3)
        until(lambda progress: progress.current == 5)
    assert not shown().is_finished
    first.advance()
    first.close()
    assert (shown().run, shown().state) == (1, "ready")
    assert sorted(WorkerShare.objects.values_list("current", flat=True)) == [3, 3]


def test_programs_share_a_run_and_its_end() -> None:
    code = """
from dataset_progress import track, watch
for item in track(range(10), dataset="cats"):
    if item == 5:
        for seen in watch("cats", "polling", 0.1):
            if seen.total == 30: break
"""
    Dataset.objects.create(dataset_id="cats", visibility="public")
    with ThreadPoolExecutor(3) as pool:
        assert [ended.returncode for ended in pool.map(program, [code] * 3)] == [0, 0, 0]
    assert (shown().run, shown().state, shown().total) == (1, "ready", 30)
    assert list(WorkerShare.objects.values_list("current", flat=True)) == [10, 10, 10]


def test_a_run_that_is_not_reported_any_more_is_not_joined() -> None:
    services.begin_run(Dataset.objects.create(dataset_id="cats"))
    RunRow.objects.update(
        heartbeat_at=timezone.now() - timedelta(hours=1), updated_at=timezone.now() - timedelta(hours=1)
    )
    with Run("cats") as run:
        run.advance()
    assert (shown().run, shown().state) == (2, "ready")


# --- Asked to hold, asked to stop -----------------------------------------------------------------------------------


def test_a_pause_holds_the_loop_until_it_may_go_on() -> None:
    seen: list[int] = []
    is_through = threading.Event()

    def job() -> None:
        with suppress(Cancelled):
            for item in track(range(100_000_000), dataset="cats"):
                seen.append(item)  # noqa: PERF402 -- watched while it grows
            is_through.set()

    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    until(lambda progress: progress.current > 0)
    row = RunRow.objects.get()
    services.request_pause(row.pk)
    until(lambda progress: stands(seen))
    services.request_resume(row.pk)
    before = len(seen)
    until(lambda progress: len(seen) > before)
    services.request_cancel(row.pk)
    thread.join(30)
    assert not thread.is_alive()
    assert not is_through.is_set()
    assert until(lambda progress: progress.is_finished).cancelled


def test_a_job_may_be_deaf_to_requests() -> None:
    with Run("cats", obey=False) as run:
        for item in run.track(range(20)):
            if item == 5:
                until(lambda progress: progress.current == 5)
                services.request_cancel(RunRow.objects.get().pk)
            if item == 10:
                until(lambda progress: progress.current == 10)
    assert (shown().state, shown().current) == ("ready", 20)


# The second is what becomes of a request where no sign of life comes: the run is over at once.
@pytest.mark.parametrize("cancel", [services.request_cancel, services.cancel])
def test_cancelled_can_be_caught(cancel: Callable[[int], object]) -> None:
    def job() -> None:
        with Run("cats") as run:
            for item in run.track(range(10**9)):
                if item == 0:
                    until(lambda progress: progress.state == "indexing")
                    cancel(RunRow.objects.get().pk)

    with pytest.raises(Cancelled):
        job()
    assert (shown().state, shown().cancelled, shown().error) == ("error", True, "Cancelled.")


# --- Side by side ---------------------------------------------------------------------------------------------------


def test_threads() -> None:
    def work(run: Run) -> None:
        for _ in range(10_000):
            run.advance()

    with Run("cats") as run:
        threads = [threading.Thread(target=work, args=(run,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert shown().current == 40_000


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_have_shares_of_their_own(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with Run("cats", flush_seconds=30) as run:
        run.advance(5)
        processes = [context.Process(target=count_to, args=(run, 100 * number)) for number in (1, 2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        until(lambda progress: progress.current == 305)
        assert not shown().is_finished
        until(lambda progress: progress.workers.done == 2)  # of whom nobody waits for a sign
        assert (shown().workers.active, shown().workers.silent) == (1, 0)
    assert (shown().state, shown().current) == ("ready", 305)
    assert sorted(WorkerShare.objects.values_list("current", flat=True)) == [5, 100, 200]


def test_one_key_makes_one_run() -> None:
    with Run("cats", key="job 7") as first, Run("cats", key="job 7", finish=False) as second:
        first.advance(2)
        second.advance(3)
        second.close()
        assert until(lambda progress: progress.current == 5).run == 1
    assert (shown().run, shown().state, shown().current) == (1, "ready", 5)


def test_a_named_share_that_is_done_again_counts_once() -> None:
    for _ in range(2):
        with Run("cats", stages=[Stage("encode", total=60)], key="job", worker="part 1", finish=False) as run:
            assert sum(run.track(range(30))) == 435
    with Run("cats", key="job", worker="part 2") as run:
        run.stage("encode").advance(30)
    assert (shown().run, shown().state, shown().current) == (1, "ready", 60)
    assert dict(WorkerShare.objects.values_list("worker", "current")) == {"part 1": 30, "part 2": 30}


def test_an_event_loop() -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(20):
            await asyncio.sleep(0)
            yield number

    async def job() -> int:
        return sum([item async for item in track(items(), dataset="cats", total=20)])

    assert asyncio.run(job()) == 190
    assert (ended().state, shown().current, shown().total) == ("ready", 20, 20)


def test_a_run_says_who_sees_its_dataset() -> None:
    for name in ("ada", "bob"):
        User.objects.create_user(name)
    with Run("cats", visibility="private", owner="ada", members=["ada", "bob"]) as run:
        run.advance()
    dataset = Dataset.objects.get()
    sharing = sharing_of(dataset)
    assert (sharing.visibility, sharing.owner, sharing.members) == ("private", "ada", ("ada", "bob"))
    assert list(track(range(2), dataset="dogs", visibility="secret")) == [0, 1]
    assert shown().state == ended("dogs").state == "ready"
    assert Dataset.objects.get(dataset_id="dogs").visibility == "private"
