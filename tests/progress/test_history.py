"""What a run learns from the last ready runs of its dataset."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.history import POINTS, RUNS, LearnedStage, learned_from, learned_stages, profile_of
from apps.progress.models import Run, Stage
from apps.progress.readings import Reading

from .helpers import heard_of, say, shown


def stage(name: str, *, items: int = 100, seconds: float = 50, **values: Any) -> Stage:
    """A stage that is done."""
    readings = [[0.0, 0], [seconds, items]]
    values = {"state": "done", "current": items, "worked_seconds": seconds, "readings": readings, **values}
    return Stage(name=name, **values)


def test_the_stages_are_those_of_the_last_run_with_what_they_took_in_each() -> None:
    runs = [
        [stage("index", items=100, seconds=60, label="Read", unit="files"), stage("embed", items=90, seconds=600)],
        [stage("scan"), stage("index", items=50, seconds=30)],
    ]
    index, embed = learned_stages(learned_from(runs))
    assert index == LearnedStage("index", "Read", "indexing", "files", 100, ((100, 60.0), (50, 30.0)), index.profile)
    assert (embed.name, embed.total, embed.runs) == ("embed", 90, ((90, 600.0),))


def test_only_the_last_five_runs_and_stages_that_are_done_count() -> None:
    runs = [[stage("index", items=items), stage("embed", state="skipped")] for items in range(10, 20)]
    [index] = learned_stages(learned_from(runs))
    assert [items for items, _ in index.runs] == [10, 11, 12, 13, 14]
    assert len(index.runs) == RUNS


def test_the_items_of_a_run_that_went_on_with_an_earlier_one_are_those_of_its_work() -> None:
    resumed = stage("index", current=1000, total=1000, readings=[[0.0, 0], [50.0, 100]])
    [index] = learned_stages(learned_from([[resumed]]))
    assert (index.total, index.runs) == (1000, ((100, 50.0),))


def test_nothing_is_learned_from_no_run() -> None:
    assert learned_from([]) == []


def test_the_profile_is_the_share_of_time_at_each_twentieth_of_the_items() -> None:
    assert profile_of([(0.0, 0), (10.0, 100)], 10) == pytest.approx([(n + 1) / 20 for n in range(20)])
    # The first half takes a tenth of the time, and at the end there is some time without a count.
    uneven = profile_of([(0.0, 0), (2.0, 50), (18.0, 100)], 20)
    assert uneven[4] == pytest.approx(0.05)
    assert uneven[9] == pytest.approx(0.1)
    assert uneven[14] == pytest.approx(0.5)
    assert uneven[19] == pytest.approx(0.9)


@given(
    st.lists(st.tuples(st.floats(0.001, 1e5), st.integers(0, 10**9)), max_size=64),
    st.floats(0, 1e6),
)
def test_a_profile_has_every_point_and_never_falls(steps: list[tuple[float, int]], rest: float) -> None:
    readings: list[Reading] = [(0.0, 0)]
    for gap, more in steps:
        readings.append((readings[-1][0] + gap, readings[-1][1] + more))
    profile = profile_of(readings, readings[-1][0] + rest)
    assert len(profile) == (POINTS if readings[-1][1] else 0)
    assert profile == sorted(profile)
    assert all(0 <= share <= 1 for share in profile)


# --- With rows ------------------------------------------------------------------------------------------------------


def ready_run(dataset: Dataset, items: int) -> Run:
    say(dataset, state="indexing", stage="read", current=0, total=items)
    Stage.objects.filter(run__dataset=dataset, state="active").update(
        worked_until=timezone.now() - timedelta(seconds=items)
    )
    say(dataset, current=items)
    say(dataset, state="ready")
    return Run.objects.filter(dataset=dataset).latest("number")


def test_a_run_learns_from_those_before_it_however_it_is_begun(dataset: Dataset) -> None:
    ready_run(dataset, 10)
    ready_run(dataset, 20)
    begun = services.begin_run(dataset)
    [read] = learned_stages(begun.learned)
    assert [items for items, _ in read.runs] == [20, 10]
    assert [seconds for _, seconds in read.runs] == pytest.approx([20, 10], abs=0.5)
    services.fail(begun.pk, "Broken.")
    say(dataset, state="indexing", current=1)
    assert Run.objects.latest("number").learned == begun.learned  # nothing is learned from a run that failed


def test_the_first_run_learns_nothing(dataset: Dataset) -> None:
    assert ready_run(dataset, 5).learned == []


def test_what_is_learned_outlives_the_details_of_the_runs(dataset: Dataset) -> None:
    for items in (5, 6, 7):
        ready_run(dataset, items)
    while services.prune_details(timezone.now()):
        pass
    [read] = learned_stages(services.begin_run(dataset).learned)
    assert [items for items, _ in read.runs] == [7, 6, 5]


def test_a_run_has_a_time_left_from_its_first_moment_if_there_was_one_before(dataset: Dataset) -> None:
    ready_run(dataset, 20)
    say(dataset, state="indexing", stage="read", current=0, total=20)
    left = shown(dataset).eta_seconds
    assert left is not None
    assert left.low < 20 < left.high < 60


def test_the_first_run_has_none_yet(dataset: Dataset) -> None:
    say(dataset, state="indexing", stage="read", current=0, total=20)
    assert shown(dataset).eta_seconds is None


@pytest.mark.parametrize("total", [0, 100])
def test_without_a_plan_a_stage_is_not_taken_to_last_as_long_as_the_one_before_it(dataset: Dataset, total: int) -> None:
    say(dataset, stage="download", current=20, total=20)
    Stage.objects.filter(run__dataset=dataset).update(worked_seconds=60)
    say(dataset, stage="encode", current=1, total=total)
    assert shown(dataset).eta_seconds is None


def test_a_heartbeat_after_a_long_silence_leaves_it_out_of_the_work(dataset: Dataset) -> None:
    say(dataset, state="indexing", stage="read", current=0, total=20)
    run = Run.objects.get(dataset=dataset)
    heard_of(run, seconds_ago=5000)
    Stage.objects.filter(run=run).update(worked_until=timezone.now() - timedelta(seconds=5010))
    assert services.heartbeat(run.pk)
    stage = Stage.objects.get(run=run)
    assert stage.worked_seconds == pytest.approx(10, abs=2)
    assert stage.worked_until is not None
    assert timezone.now() - stage.worked_until < timedelta(seconds=60)
