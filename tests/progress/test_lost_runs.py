"""`END_LOST_AFTER`: a run that was lost for long is ended, and goes on when its reporter is heard again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.errors import RunFinished
from apps.progress.models import Run, Transition
from apps.progress.services import StagePlan
from apps.progress.transitions import State
from tests.processes import worker
from tests.services import wait_until

from .helpers import heard_of, history, refused, say, seen, shown

DAY = 24 * 3600


@pytest.fixture
def ended(indexing: Run, settings: Settings) -> Run:
    """A run that was ended after 26 hours without a sign of life, at 40 of 100."""
    settings.END_LOST_AFTER = 24
    services.report(indexing.pk, current=40)
    heard_of(indexing, seconds_ago=26 * 3600)
    assert services.end_lost_runs() == 1
    return indexing


def test_no_timer_ends_a_run_where_nobody_has_said_so(indexing: Run) -> None:
    heard_of(indexing, seconds_ago=1000 * DAY)
    assert services.end_lost_runs() == 0
    assert (seen(indexing).state, seen(indexing).health) == ("indexing", "lost")


def test_the_end_is_told_as_what_it_is(ended: Run) -> None:
    progress = seen(ended)
    assert (progress.state, progress.cancelled, progress.current, progress.total) == ("error", False, 40, 100)
    assert progress.error == (
        "No contact for 26 hours, so it was ended (END_LOST_AFTER is 24). It goes on if its reporter comes back."
    )
    assert Transition.objects.filter(run=ended, stage="").latest("pk").note == "ended as lost"
    assert services.end_lost_runs() == 0


@pytest.mark.parametrize(
    "report", [{}, {"current": 41}, {"run": 1}, {"stage": "index", "current": 41}, {"state": State.INDEXING}]
)  # fmt: skip
def test_the_next_report_takes_it_back(ended: Run, report: dict[str, Any]) -> None:
    say(ended.dataset, **report)
    progress = seen(ended)
    assert (progress.run, progress.state, progress.error) == (1, "indexing", None)
    assert progress.current == report.get("current", 40)
    assert [stage.state for stage in progress.stages] == ["active", "waiting"]
    assert history(ended)[-1] == ("", "error", "indexing")
    assert (progress.finished_at, progress.health) == (None, "live" if "current" in report else "stalled")
    say(ended.dataset, state=State.READY)
    assert seen(ended).state == "ready"


def test_a_report_that_is_refused_takes_nothing_back(ended: Run) -> None:
    refused(ended.dataset, state=State.PENDING)
    refused(ended.dataset, run=2, current=50)
    assert seen(ended).state == "error"


def test_the_silence_is_no_time_of_work(ended: Run) -> None:
    say(ended.dataset, current=41)
    assert seen(ended).stage_seconds < 3600


def test_a_report_that_ends_the_run_ends_it_for_good(ended: Run) -> None:
    say(ended.dataset, state=State.READY)
    assert seen(ended).state == "ready"
    assert isinstance(refused(ended.dataset, run=1, current=50), RunFinished)


def test_the_same_key_finds_it_again(dataset: Dataset, settings: Settings) -> None:
    settings.END_LOST_AFTER = 24
    run = services.begin_run(dataset, [StagePlan("index", total=100)], idempotency_key="job 7")
    say(dataset, stage="index", current=40)
    heard_of(run, seconds_ago=2 * DAY)
    assert services.end_lost_runs() == 1
    found = services.begin_or_find_run(dataset, idempotency_key="job 7")
    assert (found.run.pk, found.is_new, shown(dataset).state) == (run.pk, False, "indexing")


def test_a_run_that_was_followed_by_another_stays_ended(ended: Run) -> None:
    services.begin_run(ended.dataset)
    assert isinstance(refused(ended.dataset, run=1, current=50), RunFinished)
    assert Run.objects.get(pk=ended.pk).state == "error"


def pause(run: Run) -> None:
    services.request_pause(run.pk)


def queue(run: Run) -> None:
    services.note_queued(run.pk)


@pytest.mark.parametrize("rest", [pause, queue])
def test_a_run_that_is_paused_or_queued_is_not_lost(
    indexing: Run, settings: Settings, rest: Callable[[Run], None]
) -> None:
    settings.END_LOST_AFTER = 24
    rest(indexing)
    heard_of(indexing, seconds_ago=100 * DAY)
    assert services.end_lost_runs() == 0
    assert seen(indexing).state == "indexing"


@pytest.mark.django_db(transaction=True)
def test_a_worker_process_ends_it(dataset: Dataset, tmp_path: Path) -> None:
    run = services.begin_run(dataset, [StagePlan("index", total=100)])
    say(dataset, stage="index", current=40)
    heard_of(run, seconds_ago=2 * DAY)
    with worker(tmp_path / "log", {"END_LOST_AFTER": "24"}):
        wait_until(lambda: seen(run).is_finished, seconds=60, what="the run was not ended")
    assert seen(run).error == (
        "No contact for 48 hours, so it was ended (END_LOST_AFTER is 24). It goes on if its reporter comes back."
    )
