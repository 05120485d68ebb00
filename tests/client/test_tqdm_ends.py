"""How a bar ends is told by what becomes of it, not by what the job does meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from dataset_progress.tqdm import tqdm
from joblib import Parallel, delayed

from .conftest import ended
from .test_tqdm import counted

pytestmark = pytest.mark.usefixtures("address")


def new_bar() -> tqdm:
    return tqdm(range(10), dataset="cats", file=io.StringIO())


def loop_over(bar: tqdm) -> None:
    for _ in bar:
        pass


def update_by_hand(bar: tqdm) -> None:
    for _ in range(10):
        bar.update()
    bar.close()


def begun_before(bar: tqdm) -> None:
    try:
        raise LookupError
    except LookupError:  # joblib asks for items while it handles an exception of its own
        loop_over(bar)


def begun_meanwhile(use: Callable[[tqdm], None]) -> None:
    try:
        raise LookupError
    except LookupError:
        use(new_bar())


@pytest.mark.parametrize(
    "job",
    [
        lambda: begun_before(new_bar()),
        lambda: begun_meanwhile(loop_over),
        lambda: begun_meanwhile(update_by_hand),
    ],
    ids=["a loop over an earlier bar", "a loop", "by hand"],
)
def test_an_exception_that_the_job_handles_is_no_failure_of_the_bar(job: Callable[[], None]) -> None:
    job()
    assert (ended().state, ended().message, ended().error, counted()) == ("ready", "", None, [("indexing", 10)])


def test_a_bar_whose_items_joblib_takes() -> None:
    items = tqdm(range(100), dataset="cats", file=io.StringIO())
    assert sum(Parallel(2, backend="threading")(delayed(abs)(item) for item in items)) == 4950
    assert (ended().state, ended().error, counted()) == ("ready", None, [("indexing", 100)])


def test_a_bar_that_is_closed_because_of_an_exception() -> None:
    bar = new_bar()
    try:
        bar.update(4)
        raise OSError("disk full")
    except OSError:
        bar.close()
    assert (ended().state, (ended().error or "").splitlines()[0]) == ("error", "OSError: disk full")


@pytest.mark.parametrize("done", [0, 3])
def test_what_was_left_when_a_bar_is_reset_is_not_missing(done: int) -> None:
    with tqdm(total=10, dataset="cats", file=io.StringIO()) as bar:
        bar.update(done)
        bar.reset(10)
        bar.update(10)
    assert (ended().state, ended().message, counted()) == ("ready", "", [("indexing", 10 + done)])
