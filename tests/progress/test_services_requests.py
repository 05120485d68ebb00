"""What is asked of a reporter: to pause, to go on, to cancel."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.progress import services
from apps.progress.errors import RunFinished
from apps.progress.models import Run, Transition

from .helpers import VersionOf, heard_of, seen


def test_pause_and_resume(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    assert services.request_pause(indexing.pk, "by ann")
    assert (seen(indexing).paused, seen(indexing).state, version_of(indexing)) == (True, "indexing", before + 1)
    assert services.report(indexing.pk, current=3).control == "pause"  # which is how the reporter learns of it
    assert services.request_resume(indexing.pk, "by bob")
    assert (seen(indexing).paused, services.report(indexing.pk, current=4).control) == (False, "run")
    asked = Transition.objects.filter(run=indexing, new__in=["pause", "run"]).values_list("old", "new", "note")
    assert list(asked) == [("run", "pause", "by ann"), ("pause", "run", "by bob")]


def test_pause_of_a_pending_run_is_kept_until_it_begins(run: Run) -> None:
    assert services.request_pause(run.pk)
    assert seen(run).paused
    assert services.start_stage(run.pk, "index").control == "pause"


def test_pause_again_is_a_normal_no(indexing: Run, version_of: VersionOf) -> None:
    services.request_pause(indexing.pk)
    before = version_of(indexing)
    assert not services.request_pause(indexing.pk)
    assert version_of(indexing) == before


def test_resume_of_what_was_not_paused_is_a_normal_no(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    assert not services.request_resume(indexing.pk)
    assert version_of(indexing) == before


def test_resume_after_a_long_pause_waits_for_a_sign_and_is_live_then(indexing: Run, version_of: VersionOf) -> None:
    services.request_pause(indexing.pk)
    heard_of(indexing, seconds_ago=1000)
    services.heartbeat(indexing.pk)
    services.request_resume(indexing.pk)
    assert (seen(indexing).health, seen(indexing).is_waiting) == (None, True)
    before = version_of(indexing)
    services.heartbeat(indexing.pk)
    assert (seen(indexing).health, seen(indexing).is_waiting) == ("live", False)
    assert version_of(indexing) > before  # watchers are told


def test_a_resumed_run_of_which_nothing_is_heard_is_lost_after_the_usual_time(indexing: Run) -> None:
    services.request_pause(indexing.pk)
    heard_of(indexing, seconds_ago=1000)
    services.request_resume(indexing.pk)
    assert (seen(indexing).health, seen(indexing).rate) == (None, None)
    Run.objects.filter(pk=indexing.pk).update(asked_at=timezone.now() - timedelta(seconds=121))
    progress = seen(indexing)
    assert (progress.health, progress.is_waiting) == ("lost", False)
    assert progress.silent_since == Run.objects.get(pk=indexing.pk).heartbeat_at  # not when it was asked


def test_a_run_that_is_queued_waits_however_long_and_its_first_sign_begins_its_time(indexing: Run) -> None:
    heard_of(indexing, seconds_ago=1000)
    services.note_queued(indexing.pk)
    Run.objects.filter(pk=indexing.pk).update(queued_at=timezone.now() - timedelta(seconds=900))
    progress = seen(indexing)
    assert (progress.health, progress.is_waiting, progress.rate, progress.eta_seconds) == (None, True, None, None)
    assert services.heartbeat(indexing.pk)
    assert (seen(indexing).health, seen(indexing).is_waiting) == ("live", False)


def test_cancel_is_asked_of_a_reporter_that_lives(indexing: Run) -> None:
    assert services.request_cancel(indexing.pk, "by ann")
    assert (seen(indexing).state, seen(indexing).cancelled) == ("indexing", False)
    assert services.report(indexing.pk, current=3).control == "cancel"
    services.cancel(indexing.pk)
    assert (seen(indexing).state, seen(indexing).cancelled) == ("error", True)


def test_cancel_overrides_a_pause(indexing: Run) -> None:
    services.request_pause(indexing.pk)
    assert services.request_cancel(indexing.pk)
    assert not seen(indexing).paused


def test_cancel_cannot_be_taken_back(indexing: Run) -> None:
    services.request_cancel(indexing.pk)
    assert not services.request_cancel(indexing.pk)
    assert not services.request_pause(indexing.pk)
    assert not services.request_resume(indexing.pk)
    assert Run.objects.get().control == "cancel"


def test_cancel_of_a_run_that_nobody_began_ends_it_at_once(run: Run) -> None:
    assert services.request_cancel(run.pk)
    assert (seen(run).state, seen(run).cancelled) == ("error", True)


def test_cancel_of_a_silent_run_ends_it_at_once(indexing: Run) -> None:
    heard_of(indexing, seconds_ago=16)
    assert services.request_cancel(indexing.pk)
    assert (seen(indexing).state, seen(indexing).cancelled) == ("error", True)
    with pytest.raises(RunFinished):  # the reporter that comes back is told so
        services.report(indexing.pk, current=50)


def test_cancel_asked_again_ends_a_run_that_fell_silent_meanwhile(indexing: Run) -> None:
    services.request_cancel(indexing.pk)
    assert seen(indexing).state == "indexing"
    heard_of(indexing, seconds_ago=16)
    assert services.request_cancel(indexing.pk)
    assert (seen(indexing).state, seen(indexing).cancelled) == ("error", True)
