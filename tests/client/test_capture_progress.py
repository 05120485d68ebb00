"""`capture_progress` reports the bars of rich, the computations of dask and the bars of tqdm."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import pytest
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed
from dataset_progress import Cancelled, capture_progress
from dataset_progress.tqdm import capture_tqdm
from rich.console import Console
from rich.progress import Progress, track
from tqdm.auto import tqdm

from apps.progress import services
from apps.progress.models import Run
from tests.services import wait_until

from .conftest import cancelled_in, shown, stands, until

pytestmark = pytest.mark.usefixtures("address")


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True)


def bars(**options: Any) -> Progress:
    return Progress(console=console(), **options)


def stages() -> list[tuple[str, int, int]]:
    """Return the name of each stage, what it has counted, and what was planned."""
    return [(stage.name, stage.current, stage.planned) for stage in shown().stages]


@pytest.mark.parametrize("auto_refresh", [True, False])
def test_a_loop_of_rich(auto_refresh: bool) -> None:
    with capture_progress("cats"):
        for item in track(range(30), "[red]Reading[/red] 1/2", console=console(), auto_refresh=auto_refresh):
            if item == 20:
                assert until(lambda progress: progress.current == 20).stages[0].label == "Reading 1/2"
    assert (shown().state, shown().message, stages()) == ("ready", "", [("Reading", 30, 30)])


def test_bars_of_rich_that_are_updated_by_hand() -> None:
    with capture_progress("cats"), bars() as progress:
        first = progress.add_task("Reading", total=10)
        second = progress.add_task("Writing", total=4)
        for _ in range(10):
            progress.advance(first)
        progress.update(second, completed=3)
        progress.update(second, advance=1)
        progress.remove_task(second)
        assert list(progress.track(range(5), description="Checking")) == [0, 1, 2, 3, 4]
        third = progress.add_task("Fractions", total=2.5)
        for _ in range(10):
            progress.advance(third, 0.25)
    assert stages() == [("Reading", 10, 10), ("Writing", 4, 4), ("Checking", 5, 5), ("Fractions", 250, 250)]


def test_a_task_that_begins_again_goes_on_counting() -> None:
    with capture_progress("cats"), bars() as progress:
        task = progress.add_task("Reading", total=3)
        for _ in range(2):
            progress.update(task, completed=3)
            progress.reset(task)
    assert stages() == [("Reading", 6, 9)]
    assert shown().message == "Stopped at 6 of 9."


def test_a_loop_of_rich_that_is_left() -> None:
    with capture_progress("cats"):
        for item in track(range(10), "Reading", console=console()):
            if item == 4:
                break
    assert (shown().state, shown().message, stages()) == ("ready", "Stopped at 5 of 10.", [("Reading", 5, 10)])


def test_an_exception_in_a_loop_of_rich() -> None:
    def job() -> None:
        with capture_progress("cats", traceback=False):
            for item in track(range(10), "Reading", console=console()):
                if item == 4:
                    raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        job()
    assert (shown().state, shown().error) == ("error", "OSError: disk full")


def test_bars_within_a_bar_are_parts_of_it() -> None:
    with capture_progress("cats"):
        for _ in track(range(3), "Epochs", console=console()):
            list(tqdm(range(5), desc="batches", file=io.StringIO()))
            list(track(range(4), "files", console=console()))
            compute(*[delayed(abs)(number) for number in range(4)])
        for _ in tqdm(range(2), desc="Folds", file=io.StringIO()):
            list(track(range(4), "files", console=console()))
    assert stages() == [("Epochs", 3, 3), ("Folds", 2, 2)]


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_computations_of_dask(scheduler: str) -> None:
    with capture_progress("cats"):
        for _ in range(2):
            compute(*[delayed(abs)(number) for number in range(25)], scheduler=scheduler)
    assert (shown().state, shown().message) == ("ready", "")
    assert stages() == [("compute", 50, 50)]
    assert Callback.active == set()


def test_a_computation_of_dask_that_fails() -> None:
    def fail(number: int) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError), capture_progress("cats", traceback=False):
        compute(*[delayed(fail)(number) for number in (0, 1, 2)], scheduler="sync")
    assert (shown().state, shown().error) == ("error", "ZeroDivisionError: division by zero")


def loop_of_rich(seen: list[int]) -> None:
    for item in track(range(100_000), "Reading", console=console()):
        time.sleep(0.01)
        seen.append(item)


def rich_by_hand(seen: list[int]) -> None:
    with bars() as progress:
        task = progress.add_task("Reading", total=100_000)
        for item in range(100_000):
            time.sleep(0.01)
            seen.append(item)
            progress.advance(task)


def computation(seen: list[int]) -> None:
    def work(item: int) -> None:
        time.sleep(0.01)
        seen.append(item)

    compute(*[delayed(work)(item) for item in range(10_000)], scheduler="threads", num_workers=1)


@pytest.mark.parametrize("job", [loop_of_rich, rich_by_hand, computation])
def test_pause_and_cancel(job: Callable[[list[int]], None]) -> None:
    seen: list[int] = []

    def captured() -> None:
        with capture_progress("cats"):
            job(seen)

    wait = cancelled_in(captured)
    until(lambda progress: progress.current > 3)
    services.request_pause(Run.objects.get().pk)
    wait_until(lambda: stands(seen), seconds=60, what="the job went on")
    services.request_resume(Run.objects.get().pk)
    paused_at = len(seen)
    wait_until(lambda: len(seen) > paused_at, seconds=60, what="the job stood still")
    services.request_cancel(Run.objects.get().pk)
    assert [type(end) for end in wait()] == [Cancelled]
    assert until(lambda progress: progress.is_finished).cancelled


@pytest.mark.parametrize("capture", [capture_progress, capture_tqdm])
def test_a_block_without_a_bar(capture: Any) -> None:
    with capture("cats"):
        pass
    assert (shown().state, shown().message, shown().stages) == ("ready", "No progress was seen.", ())
    with capture("dogs") as run:
        run.advance()
    assert (shown("dogs").message, shown("dogs").current) == ("", 1)


def test_afterwards_the_libraries_are_as_they_were() -> None:
    before = dict(vars(Progress))
    with pytest.raises(KeyError), capture_progress("cats"), capture_progress("dogs"):
        raise KeyError("x")
    assert dict(vars(Progress)) == before
    assert Callback.active == set()
