"""A pause and a cancellation reach bars: in loops, by hand, in pools and in event loops."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from dataset_progress import Run as ReportedRun
from dataset_progress import _session
from dataset_progress.tqdm import capture_tqdm, tqdm
from tqdm.auto import tqdm as auto
from tqdm.contrib.concurrent import process_map, thread_map

from apps.progress import services
from apps.progress.models import Run

from .conftest import cancelled_in, ended, shown, stands, until
from .test_tqdm import counted, quiet

pytestmark = pytest.mark.usefixtures("address")


def in_loop(update: Callable[[], object]) -> None:
    for _ in quiet(range(10**9)):
        update()
        time.sleep(0.001)


def by_hand(update: Callable[[], object]) -> None:
    with quiet() as bar:
        while True:
            update()
            bar.update()
            time.sleep(0.001)


def captured_loop(update: Callable[[], object]) -> None:
    with capture_tqdm("cats"):
        for _ in auto(range(10**9), file=io.StringIO()):
            update()
            time.sleep(0.001)


def captured_by_hand(update: Callable[[], object]) -> None:
    with capture_tqdm("cats"), auto(file=io.StringIO()) as bar:
        while True:
            update()
            bar.update()
            time.sleep(0.001)


@pytest.mark.parametrize("job", [in_loop, by_hand, captured_loop, captured_by_hand])
def test_a_pause_and_a_cancellation_reach_it(job: Callable[[Callable[[], object]], None]) -> None:
    seen: list[int] = []
    ends = cancelled_in(lambda: job(lambda: seen.append(1)))
    until(lambda progress: progress.current > 0)
    run = Run.objects.get()
    services.request_pause(run.pk)
    until(lambda progress: stands(seen))
    services.request_cancel(run.pk)
    assert len(ends()) == 1
    assert until(lambda progress: progress.is_finished).cancelled


def work(number: int) -> int:
    time.sleep(0.02)
    return number


@pytest.mark.parametrize("mapped", [thread_map, process_map])
@pytest.mark.parametrize("is_captured", [False, True])
def test_a_cancellation_stops_the_items_of_a_pool(
    mapped: Callable[..., Any], is_captured: bool, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"max_workers": 2, "chunksize": 1, "file": io.StringIO()}

    def job() -> None:
        if is_captured:
            with capture_tqdm("cats"):
                mapped(work, range(2000), **options)
        else:
            mapped(work, range(2000), tqdm_class=tqdm, dataset="cats", linger=60, **options)

    ends = cancelled_in(job)
    until(lambda progress: progress.current > 0)
    services.request_cancel(Run.objects.get().pk)
    assert len(ends()) == 1
    assert ended().cancelled
    assert 0 < counted()[0][1] < 1500
    assert "exception calling callback" not in caplog.text


def test_a_job_that_does_not_stop_is_told_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "MAX_STOPPING_SECONDS", 0.5)
    with ReportedRun("cats") as run:
        run.advance()
        until(lambda progress: progress.current == 1)
        services.request_cancel(Run.objects.get().pk)
        until(lambda progress: progress.is_finished)
    assert (shown().cancelled, shown().message) == (True, "The job has not stopped.")


@pytest.mark.parametrize("way", ["async for", "as_completed", "captured async for", "captured as_completed"])
def test_a_pause_holds_a_task_and_not_its_event_loop(way: str) -> None:
    seen: list[int] = []
    stalls: list[float] = []

    async def item(number: int) -> int:
        await asyncio.sleep(0.001 * number)
        return number

    async def items() -> AsyncIterator[int]:
        for _ in range(400):
            yield await item(10)

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            stalls.append(time.monotonic() - began)

    async def through(bar: Any, **options: Any) -> None:
        if "async for" in way:
            async for number in bar(items(), total=400, file=io.StringIO(), **options):
                seen.append(number)  # noqa: PERF401 -- watched while it grows
        else:
            each = [item(50 * number) for number in range(400)]
            for completed in bar.as_completed(each, file=io.StringIO(), **options):
                seen.append(await completed)  # noqa: PERF401 -- watched while it grows

    async def job() -> None:
        ticking = asyncio.create_task(tick())
        if "captured" in way:
            with capture_tqdm("cats"):
                await through(auto)
        else:
            await through(tqdm, dataset="cats", linger=60)
        ticking.cancel()

    ends = cancelled_in(lambda: asyncio.run(job()))
    until(lambda progress: progress.current > 0)
    row = Run.objects.get()
    services.request_pause(row.pk)
    until(lambda progress: stands(seen))
    stalls.clear()
    time.sleep(1)
    services.request_resume(row.pk)
    before = len(seen)
    until(lambda progress: len(seen) > before)
    services.request_cancel(row.pk)
    assert len(ends()) == 1
    assert len(stalls) > 10
    assert max(stalls) < 1
