"""A job that counts by hand holds and stops when it is asked to, wherever it counts, and is never stuck for that."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest
from dataset_progress import Cancelled, Run, _session
from dataset_progress._run import session_of
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from apps.progress import services
from apps.progress.models import Run as RunRow
from apps.progress.models import WorkerShare

from .conftest import cancelled_in, ended, shown, stands, stays, until
from .work import count_one, rest

pytestmark = pytest.mark.usefixtures("address")


@pytest.fixture(autouse=True)
def _no_workers_are_left() -> Iterator[None]:
    """End the workers of joblib, which would go on to report with the token of this test."""
    yield
    get_reusable_executor().shutdown(wait=True)


NOT_STOPPED = ("error", True, "The job has not stopped.")


def told() -> tuple[str, bool, str]:
    """Return state, whether it was cancelled, and the message of the dataset, once its run is over."""
    progress = ended()
    return progress.state, progress.cancelled, progress.message


def for_ever(run: Run) -> None:
    while True:
        run.advance()
        time.sleep(0.001)


def by_advance(run: Run, number: int) -> None:
    run.advance()


def by_set(run: Run, number: int) -> None:
    run.set(number)


@pytest.mark.parametrize("count", [by_advance, by_set])
def test_a_job_that_counts_by_hand_holds_and_stops(count: Callable[[Run, int], None]) -> None:
    seen: list[int] = []

    def job() -> None:
        with Run("cats") as run:
            for number in range(10**9):
                seen.append(number)
                count(run, number)
                time.sleep(0.001)

    ends = cancelled_in(job)
    until(lambda progress: progress.current > 0)
    row = RunRow.objects.get()
    services.request_pause(row.pk)
    until(lambda progress: stands(seen))
    services.request_resume(row.pk)
    before = len(seen)
    until(lambda progress: len(seen) > before)
    services.request_cancel(row.pk)
    assert len(ends()) == 1
    assert told()[:2] == ("error", True)


def test_a_job_that_catches_it_is_cancelled_all_the_same() -> None:
    with Run("cats") as run:
        run.advance()
        until(lambda progress: progress.current == 1)
        services.request_cancel(RunRow.objects.get().pk)
        with pytest.raises(Cancelled):
            for_ever(run)
    assert told() == ("error", True, "")


def test_a_job_that_stops_without_closing_its_run_is_cancelled() -> None:
    run = Run("cats")
    run.advance()
    until(lambda progress: progress.current == 1)
    services.request_cancel(RunRow.objects.get().pk)
    with pytest.raises(Cancelled):
        for_ever(run)
    assert told() == ("error", True, "")  # long before `MAX_STOPPING_SECONDS`


# --- Pools ------------------------------------------------------------------------------------------------------------


def through_joblib(backend: str) -> Callable[[Run], object]:
    def job(run: Run) -> object:
        return Parallel(n_jobs=2, backend=backend)(delayed(count_one)(run, number) for number in range(2000))

    return job


def through_executor(run: Run) -> object:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        try:
            return list(pool.map(count_one, [run] * 2000, range(2000)))
        finally:
            pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(
    "job", [*map(through_joblib, ("loky", "threading", "multiprocessing")), through_executor],
    ids=["loky", "threading", "multiprocessing", "executor"],
)  # fmt: skip
def test_a_pause_and_a_cancellation_reach_the_workers_of_a_pool(job: Callable[[Run], object]) -> None:
    def through() -> None:
        with Run("cats") as run:
            run.set(total=2000)
            job(run)

    ends = cancelled_in(through)
    until(lambda progress: progress.current > 0)
    row = RunRow.objects.get()
    services.request_pause(row.pk)
    until(lambda progress: stays())
    services.request_resume(row.pk)
    before = shown().current
    until(lambda progress: progress.current > before)
    services.request_cancel(row.pk)
    assert len(ends()) == 1
    assert told()[:2] == ("error", True)
    assert shown().current < 2000
    assert RunRow.objects.count() == 1


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_a_worker_reports_the_tasks_of_its_pool_together(backend: str) -> None:
    with Run("cats", flush_seconds=60) as run:
        Parallel(n_jobs=2, backend=backend, batch_size=1)(delayed(count_one)(run, number) for number in range(200))
        until(lambda progress: progress.current == 200)
    assert (shown().run, shown().state, shown().current) == (1, "ready", 200)
    assert WorkerShare.objects.count() <= 2


# --- Callbacks, which lose what is raised -----------------------------------------------------------------------------


def of_thread_pool(count: Callable[[object], None]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for number in range(5000):
            pool.submit(rest, number).add_done_callback(count)


def of_process_pool(count: Callable[[object], None]) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as pool:
        for number in range(5000):
            pool.submit(rest, number).add_done_callback(count)


def of_multiprocessing(count: Callable[[object], None]) -> None:
    with ThreadPool(2) as pool:
        for result in [pool.apply_async(rest, [number], callback=count) for number in range(5000)]:
            result.get(60)


def of_event_loop(count: Callable[[object], None]) -> None:
    async def item() -> None:
        await asyncio.sleep(0.001)

    async def job() -> None:
        for _ in range(5000):
            task = asyncio.create_task(item())
            task.add_done_callback(count)
            await task

    asyncio.run(job())


CALLBACKS = [of_thread_pool, of_process_pool, of_multiprocessing, of_event_loop]


@pytest.mark.parametrize("job", CALLBACKS)
def test_where_nothing_stops_a_job_the_run_is_cancelled_and_says_so(
    job: Callable[[Callable[[object], None]], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_session, "MAX_STOPPING_SECONDS", 600)
    lost: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lost.append)
    counted: list[object] = []
    is_over = threading.Event()

    def through() -> None:
        with Run("cats") as run:
            run.set(total=5000)

            def count(result: object) -> None:
                counted.append(result)
                run.advance()

            job(count)
            is_over.wait(60)

    thread = threading.Thread(target=through)
    thread.start()
    until(lambda progress: progress.current > 0)
    services.request_cancel(RunRow.objects.get().pk)
    assert told() == NOT_STOPPED
    is_over.set()
    thread.join(60)
    assert not thread.is_alive()
    assert (len(counted), lost) == (5000, [])
    assert "exception calling callback" not in caplog.text
    assert told() == NOT_STOPPED


def test_a_pause_in_a_callback_of_an_event_loop_does_not_block_it() -> None:
    async def job() -> int:
        turns = 0
        loop = asyncio.get_running_loop()
        with Run("cats") as run:
            loop.call_soon(run.advance)
            await asyncio.to_thread(until, lambda progress: progress.current == 1)
            await asyncio.to_thread(lambda: services.request_pause(RunRow.objects.get().pk))
            await asyncio.to_thread(until, lambda progress: session_of(run).control.is_paused)
            for _ in range(20):
                loop.call_soon(run.advance)
                await asyncio.sleep(0.01)
                turns += 1
            await asyncio.to_thread(lambda: services.request_resume(RunRow.objects.get().pk))
        return turns

    assert asyncio.run(asyncio.wait_for(job(), 60)) == 20
    assert (ended().state, shown().current) == ("ready", 21)
