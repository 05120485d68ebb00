"""The drop-in for tqdm shows its bar and reports. Bars of libraries are captured without changing the libraries."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import dataset_progress.tqdm.auto
import optuna
import pytest
import tqdm as real
from dataset_progress.tqdm import capture_tqdm, tqdm, trange
from dataset_progress.tqdm._bars import stage_of
from tqdm import TqdmExperimentalWarning
from tqdm.auto import tqdm as auto

from apps.progress.models import Run, WorkerShare

from .conftest import ended, shown, until

pytestmark = pytest.mark.usefixtures("address")


def test_it_shows_the_bar_and_reports() -> None:
    screen = io.StringIO()
    assert list(tqdm(range(40), desc="Reading", dataset="cats", file=screen)) == list(range(40))
    assert "Reading: 100%" in screen.getvalue()
    assert "40/40" in screen.getvalue()
    progress = ended()
    assert progress.stage is not None
    assert (progress.state, progress.stage.name, progress.current, progress.total) == ("ready", "Reading", 40, 40)


def test_trange_and_the_dataset_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_DATASET", "dogs")
    assert sum(trange(10, file=io.StringIO())) == 45
    assert ended("dogs").state == "ready"


def test_a_bar_that_is_updated_by_hand() -> None:
    with tqdm(total=10, dataset="cats", file=io.StringIO()) as bar:
        bar.update(4)
        bar.update()
        until(lambda progress: progress.current == 5)
    assert (ended().state, ended().message) == ("ready", "Stopped at 5 of 10.")
    assert counted() == [("indexing", 5)]


def test_an_exception_in_the_block() -> None:
    def job() -> float:
        with tqdm(total=10, dataset="cats", file=io.StringIO()) as bar:
            bar.update(4)
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        job()
    assert ended().state == "error"
    assert (shown().error or "").startswith("ZeroDivisionError: division by zero\n")


def test_an_exception_in_the_loop_in_the_block() -> None:
    def job() -> None:
        with tqdm(range(10), dataset="cats", file=io.StringIO(), traceback=False, linger=60) as bar:
            for item in bar:
                if item == 4:
                    until(lambda progress: progress.current == 4)
                    raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        job()
    assert (ended().state, shown().error, shown().current) == ("error", "OSError: disk full", 4)


def test_without_a_dataset_it_is_tqdm_as_it_is() -> None:
    bar = tqdm(range(3), file=io.StringIO())
    assert bar.run is None
    assert list(bar) == [0, 1, 2]
    assert isinstance(bar, real.tqdm)


def quiet(*arguments: Any, **options: Any) -> tqdm:
    """A bar that reports, and is not drawn on the terminal."""
    return tqdm(*arguments, dataset="cats", file=io.StringIO(), **options)


def counted() -> list[tuple[str, int]]:
    """Return what each stage has counted, which the end of the run may hide."""
    return list(WorkerShare.objects.order_by("pk").values_list("stage__name", "current"))


@pytest.mark.parametrize("disable", [False, True])
@pytest.mark.parametrize("interval", [0.0, 10.0])
def test_each_item_counts_once_and_at_once(disable: bool, interval: float) -> None:
    for item in quiet(range(40), disable=disable, mininterval=interval):
        if item in (5, 30):
            until(lambda progress, item=item: progress.current == item)  # type: ignore[misc]  # mypy infers no type for a default of a lambda
    assert (ended().state, counted()) == ("ready", [("indexing", 40)])


@pytest.mark.parametrize("disable", [False, True])
def test_what_is_counted_by_hand_counts_once(disable: bool) -> None:
    with quiet(total=20, initial=3, disable=disable, mininterval=0) as bar:
        for _ in range(10):
            bar.update(1)
        until(lambda progress: progress.current == 13)
        bar.n, bar.total = 15, 30
        bar.refresh()
        assert until(lambda progress: progress.current == 15).total == 30
    ended()
    assert counted() == [("indexing", 15)]


def test_a_hidden_bar_is_counted() -> None:
    bar = quiet(None, "Reading", total=3, disable=True)
    bar.update(2)
    bar.close()
    ended()
    assert counted() == [("Reading", 2)]


@pytest.mark.parametrize("how", ["an exception", "early"])
def test_a_bar_that_is_closed_before_its_end(how: str) -> None:
    def job() -> None:
        bar = quiet(total=10, traceback=False)
        try:
            bar.update(4)
            if how == "an exception":
                raise OSError("disk full")
        finally:
            bar.close()

    with suppress(OSError):
        job()
    told = ("error", "OSError: disk full", "") if how == "an exception" else ("ready", None, "Stopped at 4 of 10.")
    assert (ended().state, shown().error, shown().message) == told
    assert counted() == [("indexing", 4)]


@pytest.mark.parametrize(
    ("total", "step", "times", "share"),
    [(1.0, 0.1, 10, (100, 100)), (2.5, 0.25, 10, (250, 250)), (10.0, 1, 10, (10, 10)), (float("inf"), 1, 5, (5, 0))],
)
def test_fractions_are_counted_in_hundredths(total: float, step: float, times: int, share: tuple[int, int]) -> None:
    with quiet(total=total) as bar:
        for _ in range(times):
            bar.update(step)
    assert ended().state == "ready"
    assert WorkerShare.objects.values_list("current", "total").get() == share
    assert shown().stages[0].unit == ("hundredths of items" if share[0] >= 100 else "items")


def test_descriptions_that_differ_in_numbers_are_one_stage() -> None:
    with tqdm(desc="all", total=1, file=io.StringIO()):
        for epoch in range(5):
            list(quiet(range(3), desc=f"Epoch {epoch}/5:", linger=60))
        for number in range(80):
            list(quiet(range(2), desc=f"file{number}", linger=0 if number == 79 else 60))
    ended()
    assert len(counted()) == 64
    assert dict(counted())["Epoch"] == 15
    assert sum(dict(counted()).values()) == 15 + 160


@pytest.mark.parametrize(
    ("desc", "stage"),
    [("Epoch 3/70: ", "Epoch"), ("Epoch [3/70]", "Epoch"), ("resnet50", "resnet50"), ("12/70", "indexing"),
     ("fold #2 (5%)", "fold"), ("v1.2 of 3", "v1.2 of"), ("Train loss=0.31", "Train loss"),
     ("Map (num_proc=2)", "Map (num_proc=2)")],
)  # fmt: skip
def test_the_stage_of_a_description(desc: str, stage: str) -> None:
    with real.tqdm(desc=desc, file=io.StringIO()) as bar:
        assert stage_of(bar) == stage


def test_what_a_bar_says_is_shown() -> None:
    with quiet(total=10**9, unit="B", unit_scale=True, desc="Epoch 1/2") as bar:
        assert until(lambda progress: progress.stage is not None).stage is not None
        bar.set_description("Epoch 2/2")
        bar.set_postfix(loss=0.5)
        stage = until(lambda progress: progress.message == "loss=0.5").stage
        assert stage is not None
        assert (stage.name, stage.label, stage.unit) == ("Epoch", "Epoch 2/2", "B")
    ended()
    assert [(stage.name, stage.label) for stage in shown().stages] == [("Epoch", "Epoch 2/2")]


def test_options_of_a_run_are_options_of_a_bar(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token = os.environ["DATASET_PROGRESS_TOKEN"]
    monkeypatch.delenv("DATASET_PROGRESS_URL")
    monkeypatch.delenv("DATASET_PROGRESS_TOKEN")
    bar = quiet(
        range(5), url=address, token=token, key="job", worker="part 1", obey=False, flush_seconds=5, linger=0,
        traceback=False,
    )  # fmt: skip
    assert list(bar) == [0, 1, 2, 3, 4]
    assert ended().state == "ready"
    assert WorkerShare.objects.get().worker == "part 1"
    assert Run.objects.get().idempotency_key == "job"


def test_an_event_loop_counts_and_is_not_held_up() -> None:
    turns = 0

    async def items() -> AsyncIterator[int]:
        for item in range(400):
            await asyncio.sleep(0.01)
            yield item

    async def tick() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def job() -> None:
        ticking = asyncio.create_task(tick())
        async for _ in quiet(items(), total=400):
            pass
        ticking.cancel()

    asyncio.run(job())
    assert (ended().state, shown().current) == ("ready", 400)
    assert turns > 100


def test_a_bar_that_is_used_again_goes_on_counting() -> None:
    with quiet(total=10) as bar:
        bar.update(10)
        bar.reset(5)
        bar.update(2)
        assert until(lambda progress: progress.current == 12).total == 15
    ended()
    assert counted() == [("indexing", 12)]


def test_it_does_with_what_it_is_given_what_tqdm_does() -> None:
    items, plain = [1, 2, 3], real.tqdm([1, 2, 3], file=io.StringIO())
    bar = quiet(items)
    assert (len(bar), list(bar), list(bar)) == (len(plain), list(plain), list(plain))
    assert list(reversed(quiet(items))) == list(reversed(real.tqdm(items, file=io.StringIO())))
    assert (2 in quiet(items)) is (2 in plain)
    assert list(quiet({"a": 1}.items())) == [("a", 1)]
    with pytest.raises(KeyError):
        quiet(items, no_such_option=True)


def test_it_is_found_where_tqdm_is() -> None:
    assert dataset_progress.tqdm.auto.tqdm is tqdm
    assert dataset_progress.tqdm.auto.trange is trange


def test_a_bar_within_a_bar_is_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_DATASET", "cats")
    for _ in tqdm(range(3), desc="epochs", file=io.StringIO()):
        assert list(tqdm(range(5), desc="batches", file=io.StringIO())) == [0, 1, 2, 3, 4]
    assert (ended().run, counted()) == (1, [("epochs", 3)])


@pytest.mark.parametrize("disable", [False, True])
def test_bars_of_others_are_captured(disable: bool) -> None:
    with capture_tqdm("cats"):
        for _ in auto(range(20), desc="Tokenising", file=io.StringIO(), disable=disable):
            for _ in auto(range(5), desc="inner", file=io.StringIO(), disable=disable):
                pass
        with real.tqdm(total=8, desc="Writing", file=io.StringIO(), disable=disable) as bar:
            for _ in range(8):
                bar.update()
    progress = shown()
    assert progress.state == "ready"
    assert [(stage.name, stage.current, stage.total) for stage in progress.stages] == [
        ("Tokenising", 20, 20),
        ("Writing", 8, 8),
    ]


@pytest.mark.parametrize("disable", [False, True])
def test_a_captured_item_counts_once_and_at_once(disable: bool) -> None:
    with capture_tqdm("cats"):
        for item in auto(range(40), file=io.StringIO(), disable=disable, mininterval=10):
            if item == 30:
                until(lambda progress: progress.current == 30)
    assert (shown().state, counted()) == ("ready", [("indexing", 40)])


@pytest.mark.parametrize("is_captured", [False, True])
def test_items_that_are_fewer_than_the_total_are_counted_as_what_they_are(is_captured: bool) -> None:
    if is_captured:
        with capture_tqdm("cats"):
            list(auto(iter(range(5)), total=10, file=io.StringIO()))
    else:
        list(quiet(iter(range(5)), total=10))
    progress = ended()
    assert (progress.state, progress.current, progress.message) == ("ready", 5, "Stopped at 5 of 10.")


def draws(bar: Any, **options: Any) -> list[int]:
    """Return at which counts a bar is drawn whose items take a tenth of a second each by its own clock."""
    drawn: list[int] = []
    bar = bar(range(60), file=io.StringIO(), **options)
    bar._time = itertools.count(bar.start_t, 0.1).__next__
    bar.display = lambda *_, **__: drawn.append(bar.n)
    assert list(bar) == list(range(60))
    return drawn


@pytest.mark.parametrize(
    "options",
    [{}, {"mininterval": 1}, {"miniters": 7}, {"delay": 2}, {"initial": 3}, {"smoothing": 0, "mininterval": 0.5}],
)
def test_it_is_drawn_when_tqdm_is(options: dict[str, Any]) -> None:
    plain = draws(real.tqdm, **options)
    assert len(plain) > 2
    assert draws(tqdm, dataset="cats", **options) == plain
    with capture_tqdm("dogs"):
        assert draws(real.tqdm, **options) == plain


def test_a_bar_that_nobody_closes_hides_no_other() -> None:
    with capture_tqdm("cats"):
        kept = auto(total=2, desc="first", file=io.StringIO())
        kept.update(2)
        bar = auto(total=9, desc="second", file=io.StringIO())
        bar.update(4)
        del bar
        gc.collect()
        with auto(total=3, desc="third", file=io.StringIO()) as bar:
            bar.update(3)
            bar.reset()
            bar.update(1)
            until(lambda progress: progress.current == 4)
    assert sorted(counted()) == [("first", 2), ("second", 4), ("third", 4)]


def test_captures_within_each_other() -> None:
    before = dict(vars(real.std.tqdm))
    with capture_tqdm("cats"), auto(total=3, desc="outer", file=io.StringIO()) as outer:
        with capture_tqdm("dogs"):
            assert len(list(auto(range(5), desc="inner", file=io.StringIO()))) == 5
            assert len(list(tqdm(range(7), dataset="mice", file=io.StringIO()))) == 7
        outer.update(3)
    assert [(ended(name).state, shown(name).current) for name in ("cats", "dogs", "mice")] == [
        ("ready", 3),
        ("ready", 5),
        ("ready", 7),
    ]
    assert dict(vars(real.std.tqdm)) == before


def test_after_the_capture_tqdm_is_as_it_was() -> None:
    before = dict(vars(real.std.tqdm))
    with pytest.raises(KeyError), capture_tqdm("cats"):
        raise KeyError("x")
    assert dict(vars(real.std.tqdm)) == before
    assert shown().state == "error"


def test_the_bar_of_optuna_is_captured() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(), capture_tqdm("cats", flush_seconds=30):
        warnings.simplefilter("ignore", TqdmExperimentalWarning)
        study = optuna.create_study()
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12, show_progress_bar=True)
    assert len(study.trials) == 12
    progress = shown()
    assert (progress.state, progress.current, progress.total) == ("ready", 12, 12)
