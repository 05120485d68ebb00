"""Verbs that begin and end a run: each works first, then one refusal a test. `test_machine` has what all promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, transaction

from apps.core import text as texts
from apps.datasets.models import Dataset
from apps.progress import selectors, services
from apps.progress.errors import ProgressError, RunFinished, RunUnfinished
from apps.progress.models import Head, Run, Transition
from apps.progress.services import StagePlan
from apps.progress.transitions import State

from .conftest import EMBED, INDEX
from .helpers import VersionOf, history, say, seen, shown


def test_begin_run_opens_a_pending_run_with_its_stages_waiting(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [INDEX, EMBED], message="Queued")
    progress = seen(run)
    assert (progress.state, progress.run, progress.message, progress.percent) == ("pending", 1, "Queued", 0)
    assert [(s.name, s.counts_as, s.total, s.state) for s in progress.stages] == [
        ("index", "indexing", 100, "waiting"),
        ("embed", "embedding", 100, "waiting"),
    ]
    assert history(run) == [("", "", "pending")]


def test_begin_run_counts_the_runs_of_each_dataset(dataset: Dataset) -> None:
    other = Dataset.objects.create(dataset_id="dogs")
    for number in (1, 2, 3):
        assert services.begin_run(dataset).number == number
        services.finish(Run.objects.unfinished().get().pk)
    assert services.begin_run(other).number == 1


def test_begin_run_is_refused_beside_an_unfinished_run(run: Run, version_of: VersionOf) -> None:
    before = version_of(run)
    with pytest.raises(RunUnfinished, match="Run 1 is not finished") as refusal:
        services.begin_run(run.dataset)
    assert refusal.value.code == "run_unfinished"
    assert version_of(run) == before
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    "plans",
    [
        [StagePlan("a"), StagePlan("a")],
        [StagePlan("a", weight=0)],
        [StagePlan("a", total=-1)],
        [StagePlan("a", counts_as=State.READY)],
    ],
)
def test_begin_run_with_an_impossible_plan_leaves_nothing_behind(dataset: Dataset, plans: list[StagePlan]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        services.begin_run(dataset, plans)
    assert not Run.objects.exists()
    assert selectors.progress_of(dataset.pk).run is None


def test_a_key_begins_one_run(dataset: Dataset) -> None:
    first, is_new, _ = services.begin_or_find_run(dataset, idempotency_key="job 1")
    assert is_new
    found = services.Begun(first, is_new=False)
    assert services.begin_or_find_run(dataset, idempotency_key="job 1", replace=True) == found
    services.finish(first.pk)
    assert services.begin_or_find_run(dataset, idempotency_key="job 1") == found
    assert services.begin_run(dataset, idempotency_key="job 2").number == 2


def test_a_run_that_is_replaced_is_cancelled(dataset: Dataset) -> None:
    say(dataset, current=5, total=9)
    services.begin_run(dataset, replace=True)
    old = Run.objects.get(number=1)
    assert (old.state, old.cancelled, old.error) == ("error", True, "Replaced by run 2.")
    assert (shown(dataset).run, shown(dataset).state) == (2, "pending")


def test_finish_makes_the_run_ready(indexing: Run) -> None:
    services.report(indexing.pk, current=60)
    services.finish(indexing.pk, message="100 images")
    progress = seen(indexing)
    assert (progress.state, progress.percent, progress.message, progress.error) == ("ready", 100, "100 images", None)
    assert progress.current == progress.total == 60
    assert [(s.state, s.current, s.total, s.planned) for s in progress.stages] == [
        ("done", 60, 60, 100),
        ("skipped", 0, 100, 100),
    ]
    assert progress.is_finished
    assert not progress.is_working
    indexing.refresh_from_db()
    assert indexing.finished_at is not None


def test_finish_with_failures_is_ready(indexing: Run) -> None:
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    services.finish(indexing.pk)
    assert (seen(indexing).state, seen(indexing).failed, seen(indexing).error) == ("ready", 1, None)


def test_finish_of_a_run_that_never_began_is_ready_0_of_0(run: Run) -> None:
    services.finish(run.pk)
    assert (seen(run).state, seen(run).current, seen(run).total) == ("ready", 0, 0)


def test_fail_keeps_the_count_and_tells_why(indexing: Run) -> None:
    services.report(indexing.pk, current=60, message="Indexing samples... 60/100")
    services.fail(indexing.pk, "disk full")
    progress = seen(indexing)
    assert (progress.state, progress.error, progress.message, progress.cancelled) == ("error", "disk full", "", False)
    assert (progress.current, progress.total, progress.percent) == (60, 100, 15)
    assert [s.state for s in progress.stages] == ["failed", "waiting"]
    assert Transition.objects.filter(run=indexing, new="error").values_list("note", flat=True).get() == "disk full"


def test_fail_without_a_reason_says_at_least_that(indexing: Run) -> None:
    services.fail(indexing.pk, "")
    assert seen(indexing).error == "Failed, and no reason was given."


def test_fail_with_a_whole_log_keeps_its_beginning(indexing: Run) -> None:
    services.fail(indexing.pk, "x" * 10**6)
    assert seen(indexing).error == "x" * texts.ERROR_LENGTH


def test_cancel_is_an_error_on_the_wire_with_cancelled_beside_it(indexing: Run) -> None:
    services.cancel(indexing.pk)
    progress = seen(indexing)
    assert (progress.state, progress.cancelled, progress.error) == ("error", True, "Cancelled.")
    assert [s.state for s in progress.stages] == ["skipped", "waiting"]


def test_an_end_takes_back_what_was_asked_of_the_reporter(indexing: Run) -> None:
    services.request_pause(indexing.pk)
    services.finish(indexing.pk)
    assert not seen(indexing).paused


EVERY_VERB: dict[str, Callable[[int], object]] = {
    "start_stage": lambda pk: services.start_stage(pk, "index"),
    "report": lambda pk: services.report(pk, current=1),
    "record_failures": lambda pk: services.record_failures(pk, "index", [("a.jpg", "truncated")]),
    "finish": lambda pk: services.finish(pk),
    "fail": lambda pk: services.fail(pk, "again"),
    "cancel": lambda pk: services.cancel(pk),
    "request_pause": lambda pk: services.request_pause(pk),
    "request_resume": lambda pk: services.request_resume(pk),
    "request_cancel": lambda pk: services.request_cancel(pk),
}


@pytest.mark.parametrize("verb", EVERY_VERB)
@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_a_run_that_is_over_takes_nothing_more(indexing: Run, version_of: VersionOf, verb: str, end: str) -> None:
    EVERY_VERB[end](indexing.pk)
    before = version_of(indexing), history(indexing)
    with pytest.raises(RunFinished) as refusal:
        EVERY_VERB[verb](indexing.pk)
    assert refusal.value.code == "run_finished"
    assert isinstance(refusal.value, ProgressError)
    assert (version_of(indexing), history(indexing)) == before


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_a_late_reporter_of_the_last_run_does_not_touch_the_next(indexing: Run, verb: str) -> None:
    services.finish(indexing.pk)
    services.begin_run(indexing.dataset, [INDEX])
    before = seen(indexing)
    with pytest.raises(RunFinished):
        EVERY_VERB[verb](indexing.pk)
    assert seen(indexing) == before


def test_the_history_of_a_whole_run(run: Run) -> None:
    services.start_stage(run.pk, "index")
    services.report(run.pk, current=50)
    services.start_stage(run.pk, "embed")
    services.finish(run.pk)
    rows = list(Transition.objects.filter(run=run).values_list("version", "stage", "old", "new"))
    assert rows == [
        (1, "", "", "pending"),
        (2, "index", "waiting", "active"),
        (2, "", "pending", "indexing"),
        (4, "index", "active", "done"),
        (4, "embed", "waiting", "active"),
        (4, "", "indexing", "embedding"),
        (5, "embed", "active", "done"),
        (5, "", "embedding", "ready"),
    ]


def test_versions_go_on_over_the_runs_of_a_dataset(indexing: Run, version_of: VersionOf) -> None:
    services.finish(indexing.pk)
    before = version_of(indexing)
    services.begin_run(indexing.dataset)
    assert version_of(indexing) == before + 1


def test_each_dataset_counts_its_own_versions(indexing: Run) -> None:
    other = Dataset.objects.create(dataset_id="dogs")
    services.begin_run(other)
    assert Head.objects.get(dataset=other).version == 1
