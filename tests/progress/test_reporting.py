"""What reporters say over the wire: runs that open themselves, shares of workers, batches."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from apps.datasets.models import Dataset
from apps.progress import selectors, services
from apps.progress.errors import IllegalTransition, LimitReached, NoRun, ProgressError, RunFinished, UnknownRun
from apps.progress.models import Head, ItemFailure, Run, Stage, WorkerShare
from apps.progress.reports import (
    MAX_COUNT,
    Accepted,
    Report,
    accept_reports,
)
from apps.progress.run_state import MAX_STAGES, MAX_STORED_COUNT, MAX_WORKERS
from apps.progress.services import StagePlan
from apps.progress.signals import Change
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import State


def say(dataset: Dataset, **said: Any) -> Accepted:
    """A report that is taken."""
    answer = accept_reports([(dataset.pk, Report(**said))])[0]
    assert isinstance(answer, Accepted), answer
    return answer


def refused(dataset: Dataset, **said: Any) -> ProgressError:
    """Why a report is refused; it must have changed nothing."""
    before = rows(dataset)
    answer = accept_reports([(dataset.pk, Report(**said))])[0]
    assert not isinstance(answer, Accepted), answer
    assert rows(dataset) == before
    return answer


def rows(dataset: Dataset) -> list[Any]:
    """All that the database has of a dataset's runs."""
    runs = Run.objects.filter(dataset=dataset)
    return [
        list(found.order_by("pk").values())
        for found in (
            Head.objects.filter(dataset=dataset), runs, Stage.objects.filter(run__in=runs),
            WorkerShare.objects.filter(stage__run__in=runs), ItemFailure.objects.filter(run__in=runs),
        )
    ]  # fmt: skip


def shown(dataset: Dataset) -> DatasetProgress:
    return selectors.progress_of(dataset.pk)


# --- Runs and stages that open themselves ---------------------------------------------------------------------------


def test_one_report_is_a_complete_reporter(dataset: Dataset) -> None:
    taken = say(dataset, state=State.INDEXING, current=45, total=100, message="Indexing samples... 45/100")
    progress = shown(dataset)
    assert (taken.run, taken.control, taken.version) == (1, "run", progress.version)
    assert (progress.state, progress.current, progress.total) == ("indexing", 45, 100)
    assert (progress.message, progress.percent) == ("Indexing samples... 45/100", 45.0)
    assert progress.health == "live"


def test_a_whole_life_by_reports_alone(dataset: Dataset) -> None:
    for state in (State.INDEXING, State.EMBEDDING):
        for current in (0, 50, 100):
            say(dataset, state=state, current=current, total=100)
    say(dataset, state=State.READY, message="Done.")
    progress = shown(dataset)
    assert (progress.state, progress.percent, progress.message) == ("ready", 100.0, "Done.")
    assert [(stage.name, stage.state, stage.current) for stage in progress.stages] == [
        ("indexing", "done", 100),
        ("embedding", "done", 100),
    ]


def test_a_stage_that_nobody_planned_is_shown_by_its_name(dataset: Dataset) -> None:
    say(dataset, stage="Tokenise", current=3)
    progress = shown(dataset)
    assert progress.stage is not None
    assert (progress.state, progress.stage.name, progress.stage.label) == ("indexing", "Tokenise", "Tokenise")
    assert (progress.current, progress.total) == (3, 0)


def test_a_stage_takes_the_state_that_comes_with_it(dataset: Dataset) -> None:
    say(dataset, stage="encode", state=State.EMBEDDING)
    assert shown(dataset).state == "embedding"


def test_planned_stages_are_met_by_name_and_by_state(dataset: Dataset) -> None:
    plans = [StagePlan("load", counts_as=State.INDEXING, total=10), StagePlan("encode", counts_as=State.EMBEDDING)]
    services.begin_run(dataset, plans)
    say(dataset, current=4)
    assert (shown(dataset).current, shown(dataset).total) == (4, 10)
    say(dataset, state=State.EMBEDDING, current=1)
    assert [(stage.name, stage.state) for stage in shown(dataset).stages] == [("load", "done"), ("encode", "active")]


def test_a_report_that_comes_after_the_next_stage_has_begun_is_refused(dataset: Dataset) -> None:
    say(dataset, state=State.INDEXING, current=100, total=100)
    say(dataset, state=State.EMBEDDING, current=1, total=100)
    assert isinstance(refused(dataset, state=State.INDEXING, current=99, total=100), IllegalTransition)
    assert isinstance(refused(dataset, stage="indexing", current=99), IllegalTransition)


def test_indexing_again_is_another_stage_with_a_name(dataset: Dataset) -> None:
    for stage, state in (("read", State.INDEXING), ("encode", State.EMBEDDING), ("sort", State.INDEXING)):
        say(dataset, stage=stage, state=state, current=1, total=1)
    assert [stage.name for stage in shown(dataset).stages] == ["read", "encode", "sort"]
    assert shown(dataset).state == "indexing"


@pytest.mark.parametrize("end", [State.READY, State.ERROR])
def test_an_end_that_is_said_again_changes_nothing(dataset: Dataset, end: State) -> None:
    say(dataset, state=State.INDEXING, current=1, total=2)
    said = {"state": end, "error": "disk full" if end is State.ERROR else None}
    first = say(dataset, **said)
    assert say(dataset, **said) == first
    assert say(dataset, run=1, **said) == first
    assert Run.objects.count() == 1


def test_an_error_that_is_said_again_changes_nothing_though_it_names_no_state(dataset: Dataset) -> None:
    first = say(dataset, current=6, error="disk full")
    assert say(dataset, current=6, error="disk full") == first
    assert say(dataset, error="disk full") == first
    assert [run.state for run in Run.objects.all()] == ["error"]


def test_a_finished_run_is_followed_by_another_when_work_begins_again(dataset: Dataset) -> None:
    say(dataset, state=State.READY)
    assert say(dataset, state=State.INDEXING, current=1).run == 2
    assert [run.state for run in Run.objects.order_by("number")] == ["ready", "indexing"]


def test_an_error_needs_no_state(dataset: Dataset) -> None:
    say(dataset, current=3, total=9)
    say(dataset, error="disk full")
    progress = shown(dataset)
    assert (progress.state, progress.error, progress.current) == ("error", "disk full", 3)


def test_nothing_said_is_a_sign_of_life_and_no_change(dataset: Dataset) -> None:
    first = say(dataset, current=1)
    Run.objects.update(heartbeat_at=None)
    assert say(dataset).version == first.version
    assert Run.objects.get().heartbeat_at is not None


def test_a_late_report_of_an_older_run_is_refused(dataset: Dataset) -> None:
    say(dataset, state=State.READY)
    say(dataset, current=1)
    assert isinstance(refused(dataset, run=1, current=99), RunFinished)


def test_what_is_refused(dataset: Dataset) -> None:
    assert isinstance(refused(dataset, message="hello"), NoRun)
    assert isinstance(refused(dataset, run=1, current=1), NoRun)
    say(dataset, current=1)
    assert isinstance(refused(dataset, run=2, current=2), UnknownRun)
    assert isinstance(refused(dataset, state=State.PENDING), IllegalTransition)
    assert isinstance(refused(dataset, state=State.PENDING, current=5, failures=[("a", "")]), IllegalTransition)
    say(dataset, state=State.READY)
    assert isinstance(refused(dataset, message="hello"), RunFinished)
    assert isinstance(refused(dataset, state=State.ERROR, error="too late"), RunFinished)


def test_a_first_report_that_is_refused_opens_no_run(dataset: Dataset) -> None:
    assert isinstance(refused(dataset, state=State.PENDING, current=5), IllegalTransition)
    assert not Run.objects.exists()


def test_a_run_has_so_many_stages_and_no_more(dataset: Dataset) -> None:
    for number in range(MAX_STAGES):
        say(dataset, stage=f"s{number}")
    assert isinstance(refused(dataset, stage="one more"), LimitReached)


def test_failures_are_listed_once_and_counted_once(dataset: Dataset) -> None:
    for _ in range(2):
        say(dataset, current=1, failures=[("a.jpg", "truncated"), ("b.jpg", "")])
    assert (shown(dataset).failed, ItemFailure.objects.count()) == (2, 2)
    say(dataset, failed=5, failures=[("c.jpg", "")])
    assert (shown(dataset).failed, ItemFailure.objects.count()) == (5, 3)


def test_what_was_asked_of_the_reporter_comes_with_the_answer(dataset: Dataset) -> None:
    say(dataset, current=1)
    services.request_pause(Run.objects.get().pk)
    assert say(dataset, current=2).control == "pause"


# --- Shares ---------------------------------------------------------------------------------------------------------


def test_the_stage_is_the_sum_of_its_workers(dataset: Dataset) -> None:
    services.begin_run(dataset, [StagePlan("index", total=100)])
    say(dataset, worker="a", current=10)
    say(dataset, worker="b", current=20)
    assert (shown(dataset).current, shown(dataset).total) == (30, 100)
    say(dataset, worker="a", current=10)
    say(dataset, worker="a", current=4)
    assert shown(dataset).current == 30


def test_totals_of_shares_make_the_total_where_none_was_planned(dataset: Dataset) -> None:
    say(dataset, worker="a", current=10, total=50)
    say(dataset, worker="b", current=0, total=70)
    say(dataset, worker="b", total=60)
    assert (shown(dataset).current, shown(dataset).total) == (10, 120)


def test_failed_and_skipped_are_sums_too(dataset: Dataset) -> None:
    for _ in range(2):
        say(dataset, worker="a", current=5, failed=1, skipped=2)
        say(dataset, worker="b", current=5, failed=2, skipped=0)
    assert (shown(dataset).failed, shown(dataset).skipped) == (3, 2)


def test_one_without_a_name_counts_beside_the_shares(dataset: Dataset) -> None:
    say(dataset, worker="a", current=10)
    say(dataset, current=5)
    say(dataset, current=6)
    say(dataset, worker="a", current=12)
    assert shown(dataset).current == 18


def test_a_share_of_a_stage_that_others_have_left_still_counts(dataset: Dataset) -> None:
    services.begin_run(dataset, [StagePlan("load"), StagePlan("encode", counts_as=State.EMBEDDING)])
    say(dataset, stage="load", worker="a", current=10)
    say(dataset, stage="load", worker="b", current=7)
    say(dataset, stage="encode", worker="a", current=1)
    say(dataset, stage="load", worker="b", current=9)
    load, encode = shown(dataset).stages
    assert (load.state, load.current, load.total) == ("done", 19, 19)
    assert (encode.state, encode.current) == ("active", 1)
    assert shown(dataset).state == "embedding"


@pytest.mark.parametrize("order", list(permutations("ABX")), ids="".join)
def test_a_stage_is_the_same_however_late_its_workers_report(dataset: Dataset, order: tuple[str, ...]) -> None:
    services.begin_run(dataset, [StagePlan("load"), StagePlan("encode", counts_as=State.EMBEDDING)])
    reports: dict[str, dict[str, Any]] = {
        "A": {"stage": "load", "worker": "a", "current": 10, "total": 100},
        "B": {"stage": "load", "worker": "b", "current": 5, "total": 50},
        "X": {"stage": "encode", "worker": "a", "current": 1, "total": 10},
    }
    for name in order:
        say(dataset, **reports[name])
    load, encode = shown(dataset).stages
    assert (load.state, load.current, load.total) == ("done", 150, 150)
    assert (encode.state, encode.current, encode.total) == ("active", 1, 10)
    assert shown(dataset).state == "embedding"


def test_shares_that_cannot_be_added_up_are_refused(dataset: Dataset) -> None:
    say(dataset, stage="load", worker="a", failed=MAX_COUNT, current=MAX_COUNT)
    Run.objects.update(failed=MAX_STORED_COUNT - 1)
    assert isinstance(refused(dataset, stage="encode", worker="a", failed=MAX_COUNT), LimitReached)
    Stage.objects.update(shared_total=MAX_STORED_COUNT - 1)
    assert isinstance(refused(dataset, stage="load", worker="b", total=2), LimitReached)
    say(dataset, stage="load", worker="b", current=1)


def test_a_stage_has_so_many_workers_and_no_more(dataset: Dataset) -> None:
    say(dataset, worker="a", current=1)
    say(dataset, worker="a", current=2)
    assert Stage.objects.get().workers == 1
    Stage.objects.update(workers=MAX_WORKERS)
    assert isinstance(refused(dataset, worker="b", current=1), LimitReached)
    say(dataset, worker="a", current=3)
    assert shown(dataset).current == 3


COUNTS = st.integers(0, 99)


class Interleavings(TestCase):
    """Reports of several workers may come in any order, and more than once: the sum is the same."""

    @given(
        shares=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), min_size=1, max_size=4),
        copies=st.integers(1, 3),
        batch=st.integers(1, 5),
        seed=st.randoms(use_true_random=False),
    )
    def test_any_order_makes_the_same_sum(
        self, shares: list[list[int]], copies: int, batch: int, seed: random.Random
    ) -> None:
        Dataset.objects.filter(dataset_id="shared").delete()
        dataset = Dataset.objects.create(dataset_id="shared")
        reports = [
            (dataset.pk, Report(stage="index", worker=f"w{worker}", current=count, total=50, failed=count // 2))
            for worker, counts in enumerate(shares)
            for count in counts
        ] * copies
        seed.shuffle(reports)
        before = 0
        for start in range(0, len(reports), batch):
            assert all(isinstance(answer, Accepted) for answer in accept_reports(reports[start : start + batch]))
            now = shown(dataset)
            assert now.current >= before
            before = now.current
        progress = shown(dataset)
        assert progress.current == sum(max(counts) for counts in shares)
        assert progress.failed == sum(max(counts) // 2 for counts in shares)
        assert progress.total == 50 * len(shares)
        stage = Stage.objects.get(run__dataset=dataset)
        assert stage.shared == sum(share.current for share in WorkerShare.objects.filter(stage=stage)) == stage.current
        assert stage.workers == len(shares)

    @given(
        says=st.lists(
            st.tuples(
                st.sampled_from(["load", "encode"]),
                st.integers(0, 3),
                st.integers(0, 50),
                st.none() | st.integers(0, 99),
            ),
            min_size=1,
            max_size=14,
        ),
        copies=st.integers(1, 2),
        planned=st.integers(0, 80),
        seed=st.randoms(use_true_random=False),
    )
    def test_any_order_makes_the_same_stages(
        self, says: list[tuple[str, int, int, int | None]], copies: int, planned: int, seed: random.Random
    ) -> None:
        Dataset.objects.filter(dataset_id="staged").delete()
        dataset = Dataset.objects.create(dataset_id="staged")
        services.begin_run(
            dataset, [StagePlan("load", total=planned), StagePlan("encode", counts_as=State.EMBEDDING, total=planned)]
        )
        most: dict[str, dict[int, tuple[int, int]]] = {"load": {}, "encode": {}}
        for stage, worker, current, total in says:
            before = most[stage].get(worker, (0, 0))
            most[stage][worker] = (max(before[0], current), max(before[1], total or 0))
        reports = [
            Report(stage=stage, worker=f"w{worker}", current=current, total=total)
            for stage, worker, current, total in says * copies
        ]
        seed.shuffle(reports)
        percent = 0.0
        for report in reports:
            [answer] = accept_reports([(dataset.pk, report)])
            assert isinstance(answer, Accepted), answer
            now = shown(dataset)
            assert percent <= (now.percent or 0) <= 100
            percent = now.percent or 0
        load, encode = shown(dataset).stages
        for one, is_over in ((load, bool(most["encode"])), (encode, False)):
            current = sum(current for current, _ in most[one.name].values())
            total = sum(total for _, total in most[one.name].values())
            if is_over and most[one.name]:
                whole = max(planned, current, total)
                assert (one.state, one.current, one.total) == ("done", whole, whole)
            elif most[one.name]:
                assert (one.state, one.current) == ("active", current)
                assert one.total == (max(planned, total, current) if max(planned, total) else 0)
            else:
                assert (one.state, one.current, one.total) == ("waiting", 0, planned)


# --- Batches --------------------------------------------------------------------------------------------------------


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


def test_queries_do_not_grow_with_the_batch(db: None, django_assert_num_queries: Any) -> None:
    datasets = [Dataset.objects.create(dataset_id=f"d{number}") for number in range(50)]
    accept_reports([(dataset.pk, Report(current=1, total=9, worker="a")) for dataset in datasets])
    with django_assert_num_queries(8):  # 4 reads, 4 updates
        accept_reports([(dataset.pk, Report(current=2, worker="a")) for dataset in datasets])
    assert {shown(dataset).current for dataset in datasets} == {2}


def test_queries_do_not_grow_with_the_workers(dataset: Dataset, django_assert_num_queries: Any) -> None:
    def batch(current: int) -> list[tuple[int, Report]]:
        return [(dataset.pk, Report(current=current, total=9, worker=f"w{number}")) for number in range(100)]

    accept_reports([(dataset.pk, Report(state=State.INDEXING))])
    with django_assert_num_queries(8, exact=False):  # 4 reads, 3 updates, and one insert of shares
        accept_reports(batch(1))
    assert (shown(dataset).current, shown(dataset).total) == (100, 900)


# --- Runs that are begun --------------------------------------------------------------------------------------------


def test_a_key_begins_one_run(dataset: Dataset) -> None:
    first, is_new = services.begin_or_find_run(dataset, idempotency_key="job 1")
    assert is_new
    assert services.begin_or_find_run(dataset, idempotency_key="job 1", replace=True) == (first, False)
    services.finish(first.pk)
    assert services.begin_or_find_run(dataset, idempotency_key="job 1") == (first, False)
    assert services.begin_run(dataset, idempotency_key="job 2").number == 2


def test_a_run_that_is_replaced_is_cancelled(dataset: Dataset) -> None:
    say(dataset, current=5, total=9)
    services.begin_run(dataset, replace=True)
    old = Run.objects.get(number=1)
    assert (old.state, old.cancelled, old.error) == ("error", True, "Replaced by run 2.")
    assert (shown(dataset).run, shown(dataset).state) == (2, "pending")


def test_reporting_is_announced_once_a_dataset(db: None, announced: list[Change]) -> None:
    dataset = Dataset.objects.create(dataset_id="one")
    with TestCase.captureOnCommitCallbacks(execute=True):
        accept_reports([(dataset.pk, Report(current=number)) for number in range(1, 9)])
    assert len([change for change in announced if change.dataset_pk == dataset.pk]) == 1
