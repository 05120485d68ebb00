"""What counts as work of a stage: the clock and the readings, as reports come in. No test here has a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from apps.progress.models import Head, Run, Stage
from apps.progress.reports import Report, apply_report
from apps.progress.run_state import RunState
from apps.progress.stage_clock import seconds_at

from .test_run_state import T0


class Job:
    """A run in memory that is reported on at seconds after it began."""

    def __init__(self) -> None:
        self.state = RunState.begin(Head(dataset_id=7), 1, T0)

    @contextmanager
    def at(self, seconds: float) -> Iterator[RunState]:
        before = self.state
        self.state = RunState(before.head, before.run, before.stages, T0 + timedelta(seconds=seconds))
        self.state.shares = before.shares
        yield self.state

    def say(self, seconds: float, **said: Any) -> None:
        with self.at(seconds) as state:
            apply_report(state, Report(**said))

    def request(self, seconds: float, control: Run.Control) -> None:
        with self.at(seconds) as state:
            state.request(control, "")

    def hear(self, seconds: float) -> None:
        with self.at(seconds) as state:
            state.note_heartbeat()

    @property
    def stage(self) -> Stage:
        return self.state.stages[-1]

    def worked(self, seconds: float) -> float:
        return seconds_at(self.state.run, self.stage, T0 + timedelta(seconds=seconds))

    @property
    def done(self) -> list[tuple[float, int]]:
        return list(self.stage.readings)


def begun(current: int = 0, total: int = 100) -> Job:
    job = Job()
    job.say(0, stage="s", current=current, total=total)
    return job


def test_readings_count_items_over_seconds_of_work() -> None:
    job = begun()
    job.say(10, current=5)
    job.say(20, current=15)
    assert job.done == [(0.0, 0), (10.0, 5), (20.0, 15)]
    assert job.worked(25) == 25


def test_what_was_done_before_the_first_report_is_no_work() -> None:
    job = begun(current=60)
    job.say(10, current=70)
    assert job.done == [(0.0, 0), (10.0, 10)]


def test_a_pause_is_no_work() -> None:
    job = begun()
    job.say(10, current=10)
    job.request(12, Run.Control.PAUSE)
    assert job.worked(500) == 12
    job.request(1000, Run.Control.RUN)
    job.say(1008, current=20)
    assert job.done == [(0.0, 0), (10.0, 10), (20.0, 20)]


def test_what_is_finished_after_a_pause_was_asked_for_is_work() -> None:
    job = begun()
    job.say(10, current=10)
    job.request(12, Run.Control.PAUSE)
    job.say(20, current=20)  # the chunk that was under way
    job.request(1000, Run.Control.RUN)
    job.say(1010, current=30)
    assert job.done == [(0.0, 0), (10.0, 10), (20.0, 20), (30.0, 30)]


def test_a_silent_pause_is_left_out_once() -> None:
    job = begun()
    job.say(10, current=10)
    job.request(10, Run.Control.PAUSE)
    job.request(5000, Run.Control.RUN)
    job.say(5400, current=10)  # a worker was found only now
    job.say(5410, current=20)
    assert job.done == [(0.0, 0), (10.0, 10), (20.0, 20)]


@pytest.mark.parametrize("first", ["a sign of life", "a count"])
def test_the_wait_for_a_worker_is_no_work_however_short_it_is(first: str) -> None:
    job = begun()
    job.say(10, current=10)
    job.request(10, Run.Control.PAUSE)
    job.request(50, Run.Control.RUN)
    if first == "a sign of life":
        job.hear(80)
    job.say(81, current=11)
    assert job.worked(81) == pytest.approx(11, abs=0.1)


def test_a_run_that_was_queued_again_is_not_worked_on_until_a_worker_has_it() -> None:
    job = begun()
    job.say(10, current=10)
    job.state.run.queued_at = T0 + timedelta(seconds=25)
    job.hear(70)
    job.say(75, current=15)
    assert job.worked(75) == pytest.approx(15)


@pytest.mark.parametrize("first", ["a sign of life", "a count"])
def test_the_time_without_a_worker_is_no_work(first: str) -> None:
    job = begun()
    for count in range(1, 11):
        job.say(count, current=count)
    if first == "a sign of life":
        job.hear(4000)
    job.say(4001, current=11)
    assert job.worked(4001) == pytest.approx(11, abs=0.1)


def test_items_that_were_done_without_a_network_took_their_time() -> None:
    job = begun(total=10_000)
    for count in range(1, 11):
        job.say(count, current=count)
    job.say(1010, current=1010)
    assert job.worked(1010) == pytest.approx(1010)


def test_a_long_item_whose_worker_beats_is_work() -> None:
    job = begun()
    job.say(1, current=1)
    for seconds in range(10, 3000, 10):
        job.hear(seconds)
    job.say(3000, current=2)
    assert job.done == [(0.0, 0), (1.0, 1), (3000.0, 2)]


@pytest.mark.parametrize("worker", [None, "w1"])
def test_items_that_are_skipped_are_no_work(worker: str | None) -> None:
    job = Job()
    job.say(0, stage="s", current=0, total=1000, worker=worker)
    job.say(2, current=300, skipped=300, worker=worker)
    job.say(4, current=500, skipped=500, worker=worker)
    job.say(14, current=510, skipped=500, worker=worker)
    assert job.done == [(0.0, 0), (10.0, 10)]


def test_items_that_are_skipped_between_others_are_counted_like_these() -> None:
    job = begun()
    job.say(10, current=10, skipped=5)
    job.say(20, current=20, skipped=10)
    assert job.done == [(0.0, 0), (10.0, 10), (20.0, 20)]


def test_what_is_done_again_is_work() -> None:
    job = begun()
    job.say(10, current=10)
    job.say(20, current=0)
    job.say(40, current=10)
    assert job.done == [(0.0, 0), (10.0, 10), (40.0, 20)]


def test_a_total_that_grows_is_kept_with_its_times() -> None:
    job = begun(total=100)
    assert job.stage.totals == []
    job.say(10, current=5, total=150)
    job.say(20, current=5, total=200)
    assert job.stage.totals == [(0.0, 100), (10.0, 150), (20.0, 200)]


def test_a_stage_that_ends_keeps_its_last_reading() -> None:
    job = begun()
    job.say(10, current=10)
    job.say(10.1, current=11)
    job.say(12, stage="next")
    first = job.state.stages[0]
    assert first.readings[-1] == (12.0, 11)
    assert first.worked_seconds == 12


def test_a_late_count_of_a_worker_does_not_change_the_readings_of_a_stage_that_is_over() -> None:
    job = Job()
    job.say(0, stage="s", current=1, total=10, worker="w1")
    job.say(5, stage="next", worker="w2")
    before = list(job.state.stages[0].readings)
    job.say(9, stage="s", current=8, worker="w1")
    assert job.state.stages[0].readings == before


def test_the_usual_gap_follows_the_gaps_between_higher_counts() -> None:
    job = begun()
    for step in range(1, 60):
        job.say(step * 2, current=step)
    assert job.stage.gap == pytest.approx(2, rel=0.01)
    for step in range(1, 40):
        job.say(118 + step * 10, current=60 + step)
    assert job.stage.gap == pytest.approx(10, rel=0.1)


def test_a_clock_that_jumps_back_adds_nothing_and_takes_nothing() -> None:
    job = begun()
    job.say(10, current=10)
    job.say(-3600, current=20)
    assert job.stage.worked_seconds == 10
    job.say(-3590, current=30)
    assert job.stage.worked_seconds <= 20
