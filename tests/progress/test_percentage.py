"""The percentage of a run, and the whole percent that is shown of anything, are pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress.models import Stage
from apps.progress.percentage import (
    UNFINISHED_MOST,
    Anchor,
    Expected,
    Part,
    overall_percent,
    parts_of,
    share_done,
    waiting_of,
    whole,
    whole_of,
)
from apps.progress.transitions import StageState

parts = st.builds(
    Part,
    state=st.sampled_from(StageState),
    weight=st.floats(0.001, 1e6),
    current=st.integers(0, 10**9),
    total=st.integers(0, 10**9),
)
anchors = st.builds(Anchor, percent=st.floats(0, UNFINISHED_MOST), share=st.floats(0, 100))


def row(name: str, state: str, current: int = 0, total: int = 0, **values: bool) -> Stage:
    return Stage(name=name, state=state, current=current, total=total, **values)


def learned(**weights: float) -> list[Expected]:
    return [
        Expected(name=name, label="", counts_as="indexing", unit="files", weight=weight, total=10)
        for name, weight in weights.items()
    ]


# --- The whole percent that is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "total", "percent"),
    [
        (0, 200, 0), (1, 200, 1), (1, 10**15, 1), (3, 200, 2), (5, 200, 3), (25, 1000, 3), (2, 3, 67), (99, 100, 99),
        (5068, 5080, 99), (10**15 - 1, 10**15, 99), (200, 200, 100), (201, 200, 100), (-1, 200, 0), (0, 0, 0),
        (1, 0, 100),
    ],
)  # fmt: skip
def test_half_a_percent_is_rounded_up_but_never_to_100_and_nothing_is_rounded_to_0(
    current: int, total: int, percent: int
) -> None:
    assert whole(current, total) == percent


@given(st.integers(0, 10**15), st.integers(1, 10**15))
def test_a_whole_percent_is_100_where_all_is_done_and_0_where_nothing_is(current: int, total: int) -> None:
    percent = whole(current, total)
    assert (percent == 100) == (current >= total)
    assert (percent == 0) == (current == 0)
    assert abs(percent - 100 * min(current, total) / total) <= 1


@pytest.mark.parametrize(
    ("percent", "shown"),
    [(0, 0), (0.001, 1), (1.49, 1), (1.5, 2), (98.5, 99), (99.5, 99), (UNFINISHED_MOST, 99), (100.0, 100)],
)
def test_the_percentage_of_a_run_is_shown_by_the_same_rule(percent: float, shown: int) -> None:
    assert whole_of(percent) == shown


# --- The percentage of a run ----------------------------------------------------------------------------------------


@given(st.lists(parts, max_size=6), st.floats(0, UNFINISHED_MOST), anchors)
def test_percent_is_below_100_and_never_under_its_floor(stages: list[Part], floor: float, anchor: Anchor) -> None:
    assert floor <= overall_percent(stages, floor, anchor) <= UNFINISHED_MOST < 100


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=6))
def test_all_is_done_when_every_stage_is_over(weights: list[float]) -> None:
    done = [Part(StageState.DONE, weight, 3, 7) for weight in weights]
    assert share_done(done) == pytest.approx(100)
    assert overall_percent(done, 0) == pytest.approx(UNFINISHED_MOST)  # the run is not ready yet


def test_percent_is_weighted() -> None:
    stages = [Part(StageState.DONE, 1, 10, 10), Part(StageState.ACTIVE, 3, 5, 10), Part(StageState.WAITING, 1, 0, 10)]
    assert overall_percent(stages, 0) == pytest.approx(100 * (1 + 1.5) / 5)


def test_an_unknown_total_counts_for_nothing() -> None:
    assert overall_percent([Part(StageState.ACTIVE, 1, 5, 0)], 0) == 0


def test_a_count_beyond_its_total_counts_as_all() -> None:
    assert overall_percent([Part(StageState.ACTIVE, 1, 15, 10), Part(StageState.WAITING, 1, 0, 0)], 0) == 50


def test_percent_without_stages_is_its_floor() -> None:
    assert overall_percent([], 12.5) == 12.5


def test_from_a_change_of_the_plan_on_percent_goes_evenly_over_what_is_left() -> None:
    anchor = Anchor(percent=60, share=40)  # 60 was shown; of the new plan 40 is done
    shown = [overall_percent([Part(StageState.ACTIVE, 1, done, 100)], 60, anchor) for done in (40, 55, 70, 100)]
    assert shown == pytest.approx([60, 70, 80, UNFINISHED_MOST])


# --- The plan -------------------------------------------------------------------------------------------------------


def test_a_run_without_a_plan_has_no_parts() -> None:
    assert parts_of([], []) is None
    assert parts_of([row("index", "active", 5, 10)], []) is None


def test_stages_that_were_given_have_their_weights_and_one_beside_them_counts_too() -> None:
    stages = [row("a", "done", 1, 1, is_planned=True), row("x", "active"), row("b", "waiting", is_planned=True)]
    assert [part.state for part in parts_of(stages, []) or []] == ["done", "active", "waiting"]


def test_a_given_plan_that_is_over_while_the_run_goes_on_is_none() -> None:
    stages = [row("a", "done", 1, 1, is_planned=True), row("x", "active", 5, 10)]
    assert parts_of(stages, []) is None


def test_a_learned_plan_has_the_weights_and_totals_of_the_run_before() -> None:
    stages = [row("index", "active", 5)]
    assert parts_of(stages, learned(index=30, embed=90)) == [
        Part(StageState.ACTIVE, 30, 5, 10),  # of as many as before, until its own total is known
        Part(StageState.WAITING, 90, 0, 10),
    ]
    stages[0].total = 20
    assert [part.total for part in parts_of(stages, learned(index=30, embed=90)) or []] == [20, 10]


def test_a_stage_beside_a_learned_plan_weighs_as_the_others_do() -> None:
    stages = [row("index", "done", 10, 10), row("tile", "active")]
    weights = [part.weight for part in parts_of(stages, learned(index=30, embed=90)) or []]
    assert weights == [30, 60, 90]


def test_a_stage_that_was_passed_over_does_not_wait_any_more() -> None:
    stages = [row("a", "done", 1, 1), row("c", "active")]
    plan = learned(a=1, b=1, c=1, d=1)
    assert [each["name"] for each in waiting_of(stages, plan)] == ["d"]
    assert [each["name"] for each in waiting_of([], plan)] == ["a", "b", "c", "d"]
