"""Reports of several workers: a stage is the sum of their shares."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.errors import LimitReached
from apps.progress.models import Run, Stage, WorkerShare
from apps.progress.reports import MAX_COUNT, Accepted, Report, accept_reports
from apps.progress.run_state import MAX_STORED_COUNT, MAX_WORKERS
from apps.progress.services import StagePlan
from apps.progress.transitions import State

from .helpers import refused, say, shown


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
    assert (load.state, load.current, load.total) == ("done", 15, 15)
    assert load.planned == 150
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
                assert (one.state, one.current, one.total) == ("done", current, current)
                assert one.planned == (max(planned, total, current) if max(planned, total) else 0)
            elif most[one.name]:
                assert (one.state, one.current) == ("active", current)
                assert one.total == (max(planned, total, current) if max(planned, total) else 0)
            else:
                assert (one.state, one.current, one.total) == ("waiting", 0, planned)
