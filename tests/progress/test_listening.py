"""Whoever could not be heard is not lost: the server, its database or the clock was away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.datasets.models import Dataset
from apps.progress import listening, services, workers
from apps.progress.listening import Listening
from apps.progress.models import Run, RunMember, WorkerShare
from apps.progress.selectors import workers_of
from apps.progress.services import StagePlan
from apps.progress.snapshot import DatasetProgress

from .helpers import heard_of, say, seen, shown

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3600


def back_since(seconds: float) -> None:
    """Let the server have been away until so many seconds ago."""
    now = timezone.now()
    Listening.objects.update_or_create(pk=1, defaults={"since": now - timedelta(seconds=seconds), "until": now})
    listening.read()


# --- What is noted ----------------------------------------------------------------------------------------------------


def noted(*seconds: float) -> Listening:
    for moment in seconds:
        listening.note(T0 + timedelta(seconds=moment))
    return Listening.objects.get()


def test_notes_without_a_gap_go_on(db: None) -> None:
    row = noted(0, 5, 10, 24)
    assert (row.since.year, row.until) == (1970, T0 + timedelta(seconds=24))


@pytest.mark.parametrize("seconds", [16, 600, -16, -86_400])  # the server was away; the clock went forward, or back
def test_after_a_gap_they_begin_anew(db: None, seconds: float) -> None:
    row = noted(0, 5, 5 + seconds, 10 + seconds)
    assert (row.since, row.until) == (T0 + timedelta(seconds=5 + seconds), T0 + timedelta(seconds=10 + seconds))


# --- A run ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def unheard(indexing: Run) -> Run:
    """A run that was heard an hour ago, at 40 of 100, for the last time before the server was away."""
    services.report(indexing.pk, current=40)
    heard_of(indexing, seconds_ago=HOUR)
    back_since(3)
    return indexing


def told(progress: DatasetProgress) -> tuple[str | None, bool, float | None, object]:
    return progress.health, progress.is_waiting, progress.rate, progress.eta_seconds


def test_a_run_that_nobody_could_hear_waits_and_is_not_lost(unheard: Run) -> None:
    assert told(seen(unheard)) == (None, True, None, None)
    assert seen(unheard).stage_seconds < HOUR / 2  # its clock stands
    back_since(119)
    assert told(seen(unheard)) == (None, True, None, None)


def test_once_it_could_have_been_heard_for_long_it_is_lost(unheard: Run) -> None:
    back_since(121)
    assert (seen(unheard).health, seen(unheard).is_waiting) == ("lost", False)


def test_it_goes_on_with_the_next_sign(unheard: Run) -> None:
    services.report(unheard.pk, current=41)
    assert seen(unheard).health == "live"
    assert seen(unheard).stage_seconds < 60


def test_a_run_that_was_known_as_lost_stays_lost(unheard: Run) -> None:
    Run.objects.update(lost_at=timezone.now() - timedelta(seconds=1800))
    assert seen(unheard).health == "lost"


def test_a_run_that_fell_silent_after_the_server_was_back_is_lost_in_the_usual_time(unheard: Run) -> None:
    back_since(HOUR + 1)
    assert seen(unheard).health == "lost"


def test_while_nobody_listens_nobody_is_lost(unheard: Run) -> None:
    """The clock has jumped, and no web process has noted it yet."""
    Listening.objects.update(since=T0, until=timezone.now() - timedelta(seconds=HOUR - 1))
    listening.read()
    assert told(seen(unheard)) == (None, True, None, None)


def test_no_timer_announces_or_ends_it_before_that(unheard: Run, settings: Settings) -> None:
    settings.END_LOST_AFTER = 0.5
    assert (services.note_lost_runs(), services.end_lost_runs()) == (0, 0)
    back_since(121)
    assert (services.note_lost_runs(), services.end_lost_runs()) == (1, 1)


# --- Workers and members ----------------------------------------------------------------------------------------------


def test_workers_that_could_not_be_heard_are_not_silent(dataset: Dataset) -> None:
    for number in range(12):
        say(dataset, stage="index", worker=f"w{number}", current=1, total=10)
    hour_ago = timezone.now() - timedelta(seconds=HOUR)
    for share in WorkerShare.objects.select_related("stage"):
        share.stage.signs = [[workers.step_of(hour_ago), 12]]
        share.stage.save()
    WorkerShare.objects.update(heard_at=hour_ago)
    back_since(3)
    say(dataset, stage="index", worker="w0", current=2)
    assert (shown(dataset).workers.active, shown(dataset).workers.silent) == (12, 0)
    listed, _ = workers_of(Run.objects.get(), after=0, limit=50, now=timezone.now())
    assert {one.health for one in listed} == {"live", None}
    back_since(121)
    assert (shown(dataset).workers.active, shown(dataset).workers.silent) == (1, 11)


def test_a_run_does_not_end_for_members_that_could_not_be_heard(dataset: Dataset) -> None:
    for name in "ab":
        services.begin_or_find_run(dataset, [StagePlan("index")], join_as=name)
    hour_ago = timezone.now() - timedelta(seconds=HOUR)
    RunMember.objects.update(joined_at=hour_ago, heard_at=hour_ago)
    back_since(3)
    say(dataset, worker="a", leave=True)
    assert services.end_left_runs() == 0
    assert not Run.objects.get().is_finished
    assert services.begin_or_find_run(dataset, join_as="c").run == Run.objects.get()
    say(dataset, worker="c", leave=True)
    back_since(121)
    assert services.end_left_runs() == 1
