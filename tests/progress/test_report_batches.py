"""Many reports in one transaction: each has its outcome, and they cost one statement a table."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis.extra.django import TestCase

from apps.datasets.models import Dataset
from apps.progress.errors import IllegalTransition, LimitReached, NoRun
from apps.progress.models import Run, Stage
from apps.progress.reports import MAX_COUNT, Accepted, Report, accept_reports
from apps.progress.run_state import MAX_STORED_COUNT
from apps.progress.signals import Change
from apps.progress.transitions import State

from .helpers import refused, say, shown


def test_a_bad_report_sinks_none_of_the_others(db: None, announced: list[Change]) -> None:
    one, two = (Dataset.objects.create(dataset_id=dataset_id) for dataset_id in ("one", "two"))
    answers = accept_reports(
        [
            (one.pk, Report(current=1, total=9)),
            (two.pk, Report(run=7, current=1)),
            (one.pk, Report(state=State.PENDING, current=8)),
            (one.pk, Report(current=2)),
            (two.pk, Report(current=5)),
        ]
    )
    assert [type(answer) for answer in answers] == [Accepted, NoRun, IllegalTransition, Accepted, Accepted]
    assert (shown(one).current, shown(one).total, shown(two).current) == (2, 9, 5)
    assert shown(one).message == ""


def test_a_batch_may_end_a_run_and_begin_the_next(dataset: Dataset) -> None:
    said = [Report(current=1), Report(state=State.READY), Report(worker="a", current=1), Report(worker="a", current=3)]
    answers = accept_reports([(dataset.pk, report) for report in said])
    assert [answer.run for answer in answers if isinstance(answer, Accepted)] == [1, 1, 2, 2]
    assert [(run.state, run.number) for run in Run.objects.order_by("number")] == [("ready", 1), ("indexing", 2)]
    assert shown(dataset).current == 3


def test_of_the_stages_that_one_batch_begins_the_last_is_shown_at_the_end(dataset: Dataset) -> None:
    said = [Report(stage=name, current=current) for name, current in (("load", 3), ("check", 4), ("write", 5))]
    accept_reports([(dataset.pk, report) for report in [*said, Report(state=State.READY)]])
    stage = shown(dataset).stage
    assert stage is not None
    assert (stage.name, stage.current) == ("write", 5)


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond passes between two looks at the clock, and a new `store.LISTED_SECONDS` has just begun.

    In every such interval the first report of a dataset writes one statement more, for lists.
    """
    began = datetime(2026, 11, 1, 12, tzinfo=UTC)
    milliseconds = itertools.count()
    monkeypatch.setattr(timezone, "now", lambda: began + timedelta(milliseconds=next(milliseconds)))


@pytest.mark.usefixtures("slow_clock")
def test_queries_do_not_grow_with_the_batch(db: None, django_assert_num_queries: Any) -> None:
    datasets = [Dataset.objects.create(dataset_id=f"d{number}") for number in range(50)]
    accept_reports([(dataset.pk, Report(current=1, total=9, worker="a")) for dataset in datasets])
    with django_assert_num_queries(8, exact=False):  # 4 reads, 4 updates, of which PostgreSQL gets several at once
        accept_reports([(dataset.pk, Report(current=2, worker="a")) for dataset in datasets])
    assert {shown(dataset).current for dataset in datasets} == {2}


@pytest.mark.usefixtures("slow_clock")
def test_queries_do_not_grow_with_the_workers(dataset: Dataset, django_assert_num_queries: Any) -> None:
    def batch(current: int) -> list[tuple[int, Report]]:
        return [(dataset.pk, Report(current=current, total=9, worker=f"w{number}")) for number in range(100)]

    accept_reports([(dataset.pk, Report(state=State.INDEXING))])
    with django_assert_num_queries(8, exact=False):  # 4 reads, 3 updates, and an insert of shares
        accept_reports(batch(1))
    assert (shown(dataset).current, shown(dataset).total) == (100, 900)


def test_reporting_is_announced_once_a_dataset(db: None, announced: list[Change]) -> None:
    dataset = Dataset.objects.create(dataset_id="one")
    with TestCase.captureOnCommitCallbacks(execute=True):
        accept_reports([(dataset.pk, Report(current=number)) for number in range(1, 9)])
    assert len([change for change in announced if change.dataset_pk == dataset.pk]) == 1


def test_a_report_whose_sums_overflow_sinks_none_of_the_others(db: None) -> None:
    one, two = (Dataset.objects.create(dataset_id=dataset_id) for dataset_id in ("one", "two"))
    say(one, stage="load", worker="a", current=1)
    Stage.objects.update(current=MAX_STORED_COUNT - 5, shared=MAX_STORED_COUNT - 5)
    answers = accept_reports(
        [
            (one.pk, Report(current=MAX_COUNT)),  # it counts beside the shares
            (two.pk, Report(current=3)),
            (one.pk, Report(worker="b", current=MAX_COUNT)),
            (one.pk, Report(current=5)),
        ]
    )
    assert [type(answer) for answer in answers] == [LimitReached, Accepted, LimitReached, Accepted]
    assert (shown(one).current, shown(two).current) == (MAX_STORED_COUNT, 3)
    Run.objects.filter(dataset=one).update(failed=MAX_STORED_COUNT)
    assert isinstance(refused(one, failures=[("a.jpg", "truncated")]), LimitReached)
