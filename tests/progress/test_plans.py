"""The percentage of runs whose plan is given, learned from an earlier run, wrong, or not known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run, Stage
from apps.progress.services import StagePlan
from apps.progress.transitions import State

from .helpers import say, shown


def ran(dataset: Dataset, **seconds: float) -> None:
    """A ready run of these stages, none of which was planned, of 100 items each."""
    for name in seconds:
        say(dataset, stage=name, current=100, total=100, unit="files")
    number = say(dataset, state=State.READY).run
    for stage in Stage.objects.filter(run__dataset=dataset, run__number=number):
        Stage.objects.filter(pk=stage.pk).update(worked_seconds=seconds[stage.name])


def test_the_first_run_without_a_plan_has_no_percentage_until_it_is_ready(dataset: Dataset) -> None:
    say(dataset, stage="index", current=100, total=100)
    assert shown(dataset).percent is None
    say(dataset, stage="embed", current=45, total=100)
    progress = shown(dataset)
    assert (progress.percent, progress.current, progress.total) == (None, 45, 100)
    assert progress.stage is not None
    assert progress.stage.name == "embed"
    say(dataset, state=State.READY)
    assert shown(dataset).percent == 100


def test_a_run_that_one_report_begins_and_ends_is_all_done(dataset: Dataset) -> None:
    for _ in ("nothing learned", "a plan learned"):
        say(dataset, state=State.READY, stage="index", current=100, total=100)
        assert shown(dataset).percent == 100


def test_the_next_run_has_learned_the_stages_and_how_long_they_took(dataset: Dataset) -> None:
    ran(dataset, index=30, embed=90)
    say(dataset, stage="index", current=50, total=100)
    progress = shown(dataset)
    assert progress.percent == 12.5
    assert [(one.name, one.state, one.total, one.expected) for one in progress.stages] == [
        ("index", "active", 100, 0),
        ("embed", "waiting", 0, 100),  # so many are expected, which is no total yet
    ]
    say(dataset, stage="embed", current=50, total=200)
    assert shown(dataset).percent == pytest.approx(25 + 75 / 4)
    say(dataset, state=State.READY)
    assert [one.state for one in shown(dataset).stages] == ["done", "done"]


def test_a_total_that_is_not_known_is_expected_to_be_the_same_as_before(dataset: Dataset) -> None:
    ran(dataset, index=30, embed=90)
    say(dataset, stage="index", current=50)
    assert shown(dataset).percent == 12.5


def test_what_was_expected_and_never_came_is_no_part_of_the_run(dataset: Dataset) -> None:
    ran(dataset, index=30, embed=90)
    say(dataset, stage="index", current=100, total=100)
    say(dataset, state=State.READY)
    progress = shown(dataset)
    assert [one.name for one in progress.stages] == ["index"]
    assert progress.percent == 100


def test_of_earlier_runs_the_last_ready_one_teaches_that_began_alike(dataset: Dataset) -> None:
    ran(dataset, index=30, embed=30)
    ran(dataset, index=10, check=90)
    say(dataset, stage="index", current=100, total=100)
    say(dataset, error="disk full")  # it is not ready, and teaches nothing
    say(dataset, stage="index", current=100, total=100)
    assert shown(dataset).percent == 10
    say(dataset, stage="embed", current=50, total=100)  # so this run is going as the first one did
    progress = shown(dataset)
    assert [one.name for one in progress.stages] == ["index", "embed"]
    assert progress.percent == 75
    say(dataset, current=75)
    assert shown(dataset).percent == 87.5


def test_a_stage_that_no_run_had_moves_weights_and_never_the_number_back(dataset: Dataset) -> None:
    ran(dataset, index=60, embed=60)
    say(dataset, stage="index", current=100, total=100)
    assert shown(dataset).percent == 50
    say(dataset, stage="tile", current=0, total=100)
    assert shown(dataset).percent == 50
    say(dataset, stage="tile", current=100, total=100)
    assert shown(dataset).percent == 75  # of what is left, tiles are half
    say(dataset, stage="embed", current=50, total=100)
    assert shown(dataset).percent == 87.5


def test_an_unplanned_stage_after_a_plan_that_is_over_has_no_percentage_of_the_run(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [StagePlan("index", total=100)])
    assert shown(dataset).percent == 0
    say(dataset, stage="index", current=100)
    assert 99 < (shown(dataset).percent or 0) < 100
    say(dataset, stage="embed", current=10, total=100)
    assert shown(dataset).percent is None
    services.finish(run.pk)
    assert shown(dataset).percent == 100


def test_an_unplanned_stage_within_a_plan_takes_its_share_of_what_is_left(dataset: Dataset) -> None:
    services.begin_run(dataset, [StagePlan("index", total=100), StagePlan("embed", total=100)])
    say(dataset, stage="index", current=100)
    assert shown(dataset).percent == 50
    say(dataset, stage="tile", total=100, current=0)
    assert shown(dataset).percent == 50
    say(dataset, stage="tile", current=100)
    assert shown(dataset).percent == 75


def test_another_program_that_joins_with_more_stages_does_not_set_it_back(dataset: Dataset) -> None:
    services.begin_or_find_run(dataset, [StagePlan("index", total=100)], join_as="a")
    say(dataset, stage="index", worker="a", current=80)
    services.begin_or_find_run(dataset, [StagePlan("index"), StagePlan("embed", total=100)], join_as="b")
    say(dataset, stage="index", worker="a", current=80)
    assert shown(dataset).percent == 80
    say(dataset, stage="index", worker="a", current=100)
    assert 80 < (shown(dataset).percent or 0) < 90


def test_plans_are_not_learned_where_they_are_given(dataset: Dataset) -> None:
    ran(dataset, index=1, embed=99)
    services.begin_run(dataset, [StagePlan("index", total=100), StagePlan("embed", total=100)])
    say(dataset, stage="index", current=50)
    assert shown(dataset).percent == 25


@pytest.mark.parametrize(
    ("counts", "percents"),
    [
        # A total that grows, shrinks, becomes unknown.
        ([(50, 100), (50, 200), (150, 200), (200, 200)], [25, 25, 37.5, 50]),
        ([(50, 100), (50, 60), (60, 60)], [25, 41.67, 50]),
        ([(50, 100), (60, 0), (80, 100)], [25, 25, 40]),
        # A count beyond the total, of which the total is raised; a count that falls; a stage without items.
        ([(50, 100), (150, None), (160, None)], [25, 50, 50]),
        ([(50, 100), (10, None), (60, None)], [25, 25, 30]),
        ([(0, 0)], [0]),
    ],
)
def test_counts_that_change_never_set_it_back(
    dataset: Dataset, counts: list[tuple[int, int | None]], percents: list[float]
) -> None:
    services.begin_run(dataset, [StagePlan("index", total=100), StagePlan("embed", total=100)])
    seen = []
    for current, total in counts:
        say(dataset, stage="index", current=current, total=total)
        seen.append(shown(dataset).percent)
    assert seen == percents


def test_a_stage_of_no_items_is_done_when_the_next_begins(dataset: Dataset) -> None:
    services.begin_run(dataset, [StagePlan("index"), StagePlan("embed", total=100)])
    say(dataset, stage="index", current=0, total=0)
    say(dataset, stage="embed", current=50)
    assert shown(dataset).percent == 75


def test_a_run_that_failed_keeps_how_far_it_was(dataset: Dataset) -> None:
    services.begin_run(dataset, [StagePlan("index", total=100)])
    say(dataset, stage="index", current=40)
    say(dataset, error="disk full")
    assert shown(dataset).percent == 40


def test_learning_takes_one_query_when_a_stage_begins_and_none_after(
    dataset: Dataset, django_assert_max_num_queries: Any
) -> None:
    ran(dataset, index=30, embed=90)
    say(dataset, stage="index", current=1, total=100)
    say(dataset, stage="index", current=2)
    with django_assert_max_num_queries(6):  # 3 reads, and 3 updates, which are fewer queries on PostgreSQL
        say(dataset, stage="index", current=3)


REPORTS = st.fixed_dictionaries(
    {"stage": st.sampled_from(["a", "b", "c", "d"])},
    optional={"current": st.integers(0, 30), "total": st.integers(0, 20), "worker": st.sampled_from(["w", "v"])},
)


@pytest.mark.django_db(transaction=False)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(planned=st.sampled_from([[], ["a", "b"], ["b"]]), reports=st.lists(REPORTS, max_size=12))
def test_whatever_is_reported_it_never_falls_and_is_below_100(
    dataset: Dataset, planned: list[str], reports: list[dict[str, Any]]
) -> None:
    from apps.progress.reports import Report, accept_reports

    Run.objects.filter(dataset=dataset).exclude(state=State.READY).delete()
    if not Run.objects.filter(dataset=dataset).exists():
        ran(dataset, a=30, b=90, c=10)
    run = services.begin_run(dataset, [StagePlan(name, total=10) for name in planned], replace=True)
    last = 0.0
    for report in reports:
        accept_reports([(dataset.pk, Report(**report))])
        percent = shown(dataset).percent
        assert percent is None or last <= percent < 100
        last = percent or last
    services.finish(run.pk)
    assert shown(dataset).percent == 100
