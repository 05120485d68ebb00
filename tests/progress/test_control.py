"""Steering: what each action does, who did it, and what whoever comes second is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.control import Action
from apps.progress.models import Head, Run, Transition
from apps.progress.reports import Report, accept_reports
from apps.progress.transitions import State

from .helpers import say, seen


class Did(NamedTuple):
    changed: bool
    detail: str
    code: str


def do(run: Run, action: str, by: str = "ann") -> Did:
    changed, detail, refusal = services.request(Action(action), [run.dataset_id], by)[run.dataset_id]
    return Did(changed, detail, refusal.code if refusal else "")


def asked(run: Run, *, seconds_ago: float) -> None:
    Run.objects.filter(pk=run.pk).update(control_at=timezone.now() - timedelta(seconds=seconds_ago))


def last_event(run: Run) -> tuple[str, str]:
    event = Transition.objects.filter(run=run, stage="").order_by("-pk")[0]
    return event.new, event.note


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_a_request_is_pending_until_the_reporter_is_told(indexing: Run, action: str) -> None:
    services.report(indexing.pk, current=1)
    assert do(indexing, action).changed
    assert (seen(indexing).requested, seen(indexing).requested_by) == (action, "ann")
    assert last_event(indexing) == (action, "ann")
    version = seen(indexing).version
    say(indexing.dataset, current=1)  # is answered with what is asked
    told = seen(indexing)
    assert (told.requested, told.version) == (None if action == "pause" else "cancel", version + 1)


def test_a_resume_is_pending_until_the_reporter_is_told(indexing: Run) -> None:
    do(indexing, "pause")
    do(indexing, "resume", "bob")
    assert (seen(indexing).paused, seen(indexing).requested) == (False, "resume")
    say(indexing.dataset)
    assert seen(indexing).requested is None


def test_a_pause_before_the_start_is_obeyed_at_once(run: Run) -> None:
    do(run, "pause")
    assert (seen(run).paused, seen(run).requested) == (True, None)


@pytest.mark.parametrize(
    ("first", "second", "detail", "code"),
    [
        ("pause", "pause", "ann has paused it already.", ""),
        ("cancel", "cancel", "ann has cancelled it already.", ""),
        ("cancel", "pause", "ann has cancelled it.", "cancelling"),
        ("cancel", "resume", "ann has cancelled it.", "cancelling"),
        ("pause", "end", "Its reporter has 15 s to obey.", "too_early"),
        ("cancel", "end", "Its reporter has 15 s to obey.", "too_early"),
        ("retry", "end", "Cancel it first. It can be ended where its reporter does not obey.", "not_asked"),
        ("retry", "resume", "It is not paused.", ""),
        ("pause", "retry", "Run 1 is not finished.", "run_unfinished"),
    ],
)
def test_the_second_operator_is_told_what_the_first_did(
    indexing: Run, first: str, second: str, detail: str, code: str
) -> None:
    services.report(indexing.pk, current=1)
    do(indexing, first, "ann")
    before = seen(indexing).version
    assert do(indexing, second, "bob") == (False, detail, code)
    assert seen(indexing).version == before


def test_cancelled_says_who(indexing: Run) -> None:
    services.report(indexing.pk, current=1)
    do(indexing, "cancel")
    say(indexing.dataset, state="error", error="stopped")
    indexing.refresh_from_db()
    assert (indexing.state, indexing.cancelled, indexing.control_by) == ("error", True, "ann")
    assert last_event(indexing) == ("error", "cancelled by ann")
    assert do(indexing, "pause", "bob") == (False, "ann has cancelled it.", "no_run")


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_what_is_not_obeyed_can_be_ended(indexing: Run, action: str) -> None:
    services.report(indexing.pk, current=1)
    do(indexing, action)
    assert not seen(indexing).may_end_now
    asked(indexing, seconds_ago=16)
    assert seen(indexing).may_end_now
    assert do(indexing, "end", "bob") == (True, "Ended.", "")
    indexing.refresh_from_db()
    assert (indexing.state, indexing.cancelled, indexing.control_by) == ("error", True, "bob")
    assert last_event(indexing) == ("error", "ended by bob")
    [answer] = accept_reports([(indexing.dataset_id, Report(current=2, run=1))])
    assert getattr(answer, "code", "") == "run_finished"


def test_a_pause_that_is_obeyed_cannot_be_ended_and_one_that_is_not_can(indexing: Run) -> None:
    services.report(indexing.pk, current=1)
    do(indexing, "pause")
    say(indexing.dataset, current=2)
    asked(indexing, seconds_ago=100)
    assert do(indexing, "end").code == "not_asked"
    # It counts on, long after it was told.
    Run.objects.update(control_seen_at=timezone.now() - timedelta(seconds=50))
    assert seen(indexing).requested == "pause"
    assert do(indexing, "end").changed


def test_another_worker_of_a_paused_run_is_told_with_its_first_answer(indexing: Run) -> None:
    """A job that is started again counts a few items before it hears that its run is paused."""
    do(indexing, "pause")
    say(indexing.dataset, current=2)
    hour_ago = timezone.now() - timedelta(hours=1)
    Run.objects.update(control_at=hour_ago, control_seen_at=hour_ago, progressed_at=hour_ago)
    assert say(indexing.dataset, worker="again", current=5, total=9).control == "pause"
    assert seen(indexing).requested is None


# --- Retry ----------------------------------------------------------------------------------------------------------


def failed(dataset: Dataset) -> Run:
    say(dataset, state="indexing", current=3, total=4, failures=[("a.jpg", "bad")])
    say(dataset, state="error", error="disk full")
    return Run.objects.latest("pk")


BEGIN: dict[str, Callable[[Dataset], Any]] = {
    "planned": lambda dataset: services.begin_run(dataset),
    "reported": lambda dataset: say(dataset, state="indexing", current=1),
}


@pytest.mark.parametrize("begin", BEGIN)
@pytest.mark.parametrize(("action", "what"), [("retry", "all"), ("retry-failed", "failed")])
def test_a_retry_is_read_by_the_next_run_and_by_it_alone(dataset: Dataset, begin: str, action: str, what: str) -> None:
    last = failed(dataset)
    assert do(last, action).changed
    assert seen(last).retry == what
    assert last_event(last)[0] == "retry"
    assert not do(last, action, "bob").changed
    BEGIN[begin](dataset)
    run = Run.objects.latest("pk")
    assert (run.number, run.retry, seen(run).retry) == (2, what, None)
    assert "as ann asked" in Transition.objects.filter(run=run)[0].note
    services.finish(run.pk)
    assert services.begin_run(dataset).retry == ""


def test_a_retry_that_is_refused_stays(dataset: Dataset) -> None:
    do(failed(dataset), "retry")
    [answer] = accept_reports([(dataset.pk, Report(state=State.PENDING, current=2))])
    assert getattr(answer, "code", "") == "illegal_transition"
    both = [Report(state=State.PENDING, current=2), Report(current=2)]
    accept_reports([(dataset.pk, report) for report in both])
    assert Run.objects.get(number=2).retry == "all"
    assert Head.objects.get().retry == ""


def test_a_retry_is_withdrawn(dataset: Dataset) -> None:
    last = failed(dataset)
    do(last, "retry")
    assert do(last, "cancel", "bob") == (True, "The request is withdrawn.", "")
    assert (seen(last).retry, seen(last).state) == (None, "error")
    assert do(last, "cancel", "bob").code == "no_run"


def test_nothing_failed_so_nothing_is_retried(dataset: Dataset) -> None:
    say(dataset, state="indexing", current=3)
    say(dataset, state="ready")
    run = Run.objects.get()
    assert do(run, "retry-failed") == (False, "No item of run 1 failed.", "nothing_failed")
    assert do(run, "retry").changed


def test_many_are_steered_in_a_constant_number_of_queries(db: None, django_assert_max_num_queries: Any) -> None:
    datasets = [Dataset.objects.create(dataset_id=f"d{number}") for number in range(60)]
    accept_reports([(dataset.pk, Report(current=1)) for dataset in datasets[1:]])
    with django_assert_max_num_queries(12):
        outcomes = services.request(Action.PAUSE, [dataset.pk for dataset in datasets], "ann")
    assert len(outcomes) == 59  # one never ran
    assert Run.objects.filter(control="pause", control_by="ann").count() == 59
