"""Counts of loops, threads and numbers of other types add up."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from dataset_progress import Run, Stage
from dataset_progress._run import session_of

from apps.progress.models import WorkerShare

from .conftest import shown, until

pytestmark = pytest.mark.usefixtures("address")


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
            run.advance(np.uint8(100))  # type: ignore[arg-type]  # not an int
        run.advance(float("nan"))  # type: ignore[arg-type]  # not an int
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
        assert len(session_of(run).counts.shares["indexing"].counters) < 10
    assert WorkerShare.objects.get().current == 200
