"""The time left is a pure function; most of its promises are properties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress.estimates import SecondsRange, Work, time_left
from apps.progress.history import LearnedStage
from apps.progress.readings import Reading
from apps.progress.transitions import StageState

ACTIVE, WAITING, DONE = StageState.ACTIVE, StageState.WAITING, StageState.DONE

steps = st.lists(st.tuples(st.floats(0.2, 1e5), st.integers(0, 10**9)), max_size=64)
totals = st.lists(st.integers(1, 10**10), max_size=6).map(
    lambda found: [(float(place), total) for place, total in enumerate(sorted(found))]
)
runs = st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1e6)), min_size=1, max_size=5).map(tuple)
profiles = st.lists(st.floats(0, 1), min_size=20, max_size=20).map(lambda shares: tuple(sorted(shares))) | st.just(())
pasts = st.builds(
    LearnedStage, name=st.sampled_from("abc"), label=st.just(""), counts_as=st.just("indexing"), unit=st.just("items"),
    total=st.integers(0, 10**9), runs=runs, profile=profiles,
)  # fmt: skip


def readings_of(found: Sequence[tuple[float, int]]) -> list[Reading]:
    return [(0.0, 0), *zip(accumulate(t for t, _ in found), accumulate(n for _, n in found), strict=True)]


@st.composite
def works(draw: st.DrawFn) -> list[Work]:
    """A run of three stages: one done, one under way, one that waits, or less."""
    readings = readings_of(draw(steps))
    active = Work(
        "b", ACTIVE, draw(st.floats(0.001, 1e3)), draw(st.integers(0, 10**12)),
        readings[-1][0] + draw(st.floats(0, 1e6)), draw(st.integers(0, 10**6)), readings, draw(totals),
    )  # fmt: skip
    done = Work("a", DONE, draw(st.floats(0.001, 1e3)), 5, draw(st.floats(0, 1e6)))
    waiting = Work("c", WAITING, draw(st.floats(0.001, 1e3)), draw(st.integers(0, 10**9)))
    return [each for each in (done, active, waiting) if each is active or draw(st.booleans())]


@given(works(), st.lists(pasts, max_size=3))
def test_a_range_is_ordered_finite_and_not_negative(stages: list[Work], learned: list[LearnedStage]) -> None:
    left = time_left(stages, learned)
    if left is not None:
        assert 0 <= left.low <= left.high < math.inf


@given(works(), st.floats(0.01, 100))
def test_twice_as_slow_leaves_twice_the_time(stages: list[Work], slower: float) -> None:
    scaled = [
        replace(
            each, seconds=each.seconds * slower, readings=[(t * slower, n) for t, n in each.readings],
            totals=[(t * slower, n) for t, n in each.totals],
        )
        for each in stages
    ]  # fmt: skip
    left, later = time_left(stages), time_left(scaled)
    assert (left is None) == (later is None)
    if left is not None and later is not None:
        assert later.low == pytest.approx(left.low * slower, rel=0.02, abs=1e-6)
        assert later.high == pytest.approx(left.high * slower, rel=0.02, abs=1e-6)


def steady(per_second: float, length: int, **values: object) -> Work:
    """A stage with a reading each second, by default of 1000 items."""
    readings = [(float(second), int(per_second * second)) for second in range(length + 1)]
    return replace(Work("b", ACTIVE, 1.0, 1000, float(length), 0, readings), **values)  # type: ignore[arg-type]  # any of its fields


def left_of(*stages: Work, learned: Sequence[LearnedStage] = ()) -> SecondsRange:
    left = time_left(stages, learned)
    assert left is not None
    return left


def middle(left: SecondsRange) -> float:
    """What is most likely, as whoever has the range alone can work it out."""
    return math.sqrt(left.low * left.high)


def past(
    name: str = "b", *, runs: Sequence[tuple[int, float]], profile: Sequence[float] = (), total: int | None = None
) -> LearnedStage:
    total = runs[0][0] if total is None else total
    return LearnedStage(name, "", "indexing", "items", total, tuple(runs), tuple(profile))


@pytest.mark.parametrize(
    "stage",
    [
        Work("b", ACTIVE, total=100),  # no reading
        Work("b", ACTIVE, total=100, readings=[(0.0, 0)], seconds=50),  # nothing was done
        Work("b", ACTIVE, total=100, readings=[(0.0, 0), (10.0, 5)], seconds=10),  # one item is no pace
        steady(10, 50, total=0),  # how many there are is not known
        Work("b", WAITING, total=100),
    ],
)
def test_nothing_is_said_where_there_is_not_enough_to_say(stage: Work) -> None:
    assert time_left([stage]) is None


@given(st.integers(1, 1000), st.integers(5, 64), st.integers(1, 10_000))
def test_the_range_of_steady_work_is_narrow_and_holds_what_is_left(per_second: int, seconds: int, ahead: int) -> None:
    left = left_of(steady(per_second, seconds, total=per_second * seconds + ahead))
    assert left.low <= ahead / per_second <= left.high
    assert left.high <= 2 * left.low


def test_what_was_done_before_the_stage_began_does_not_make_it_faster() -> None:
    assert left_of(steady(10, 50, total=5000 + 1000, before=5000)) == left_of(steady(10, 50, total=1000))


def test_time_that_goes_by_between_readings_is_taken_off() -> None:
    at_reading, later = left_of(steady(10, 50)), left_of(steady(10, 50, seconds=52.0))
    assert middle(later) == pytest.approx(middle(at_reading) - 2)


def test_a_long_wait_makes_the_time_left_longer_and_less_certain() -> None:
    before, after = left_of(steady(10, 50)), left_of(steady(10, 50, seconds=100.0))
    assert middle(after) > 1.3 * middle(before)
    assert after.high / after.low > before.high / before.low


def test_a_stage_whose_items_are_all_done_leaves_nothing() -> None:
    assert left_of(steady(10, 50, total=500)) == SecondsRange(0, 0)


def test_nothing_is_said_of_work_that_goes_on_after_the_last_item() -> None:
    steady = [(float(second), 10 * second) for second in range(11)]
    stage = Work("a", ACTIVE, total=100, seconds=12.0, readings=steady)
    assert time_left([stage]) == SecondsRange(0.0, 0.0)  # it may be about to end
    assert time_left([replace(stage, seconds=20.0)]) is None
    # The stages that follow are expected all the same.
    assert time_left([replace(stage, seconds=20.0), Work("b", WAITING)]) is not None


def test_a_total_that_grows_is_expected_to_grow_on_and_one_that_has_stopped_is_not() -> None:
    usual = left_of(steady(10, 50))
    growing = left_of(steady(10, 50, totals=[(float(5 * step), 100 * step) for step in range(1, 11)]))
    stopped = left_of(steady(10, 50, totals=[(float(step), 100 * step) for step in range(1, 11)]))
    assert middle(growing) > 1.2 * middle(usual)
    assert growing.high / growing.low > usual.high / usual.low
    assert stopped == usual


def test_how_far_a_total_grows_is_not_known() -> None:
    growing = left_of(steady(10, 50, totals=[(float(second), 200 + 16 * second) for second in range(0, 51, 5)]))
    # It may have stopped, or it may grow on for nine times as long.
    assert growing.low < 50 + 8
    assert growing.high > 120


# --- Several stages -------------------------------------------------------------------------------------------------


def test_stages_of_which_only_the_weight_is_known_are_all_longer_or_all_shorter() -> None:
    begun = steady(10, 50)
    one, two = (left_of(begun, *(Work(name, WAITING, 6.0 / len(names)) for name in names)) for names in ("c", "cd"))
    assert [one.low, one.high] == pytest.approx([two.low, two.high])


def test_stages_that_wait_take_their_weight() -> None:
    left = left_of(steady(10, 50), Work("c", WAITING, 3.0, 7))
    assert middle(left) == pytest.approx(50 + 300, rel=0.01)


def test_the_speed_of_stages_that_are_done_counts_for_those_that_wait() -> None:
    left = left_of(Work("a", DONE, 1.0, 5, seconds=900.0), steady(10, 50), Work("c", WAITING, 1.0))
    assert middle(left) == pytest.approx(50 + 500, rel=0.01)


def test_a_stage_that_has_just_begun_takes_its_weight() -> None:
    begun = Work("b", ACTIVE, 2.0, 100, readings=[(0.0, 0)])
    left = left_of(Work("a", DONE, 1.0, 5, seconds=60.0), begun)
    assert middle(left) == pytest.approx(120)
    assert left.high > 2 * left.low


# --- With earlier runs ----------------------------------------------------------------------------------------------


def test_a_run_that_has_just_begun_takes_what_the_ones_before_it_took() -> None:
    begun = Work("b", ACTIVE, total=1000, readings=[(0.0, 0)])
    left = left_of(begun, Work("c", WAITING), learned=[past(runs=[(1000, 60.0)] * 5), past("c", runs=[(9, 600.0)] * 5)])
    assert middle(left) == pytest.approx(660, rel=0.01)
    assert left.high < 1.5 * left.low


def test_another_number_of_items_takes_its_time_by_item() -> None:
    begun = Work("b", ACTIVE, total=3000, readings=[(0.0, 0)])
    assert middle(left_of(begun, learned=[past(runs=[(1000, 60.0)] * 3)])) == pytest.approx(180, rel=0.01)


def test_a_stage_whose_total_is_not_known_has_that_of_the_last_run_in_proportion() -> None:
    active = steady(10, 50, total=2000)
    left = left_of(active, Work("c", WAITING), learned=[past(runs=[(1000, 100.0)]), past("c", runs=[(1000, 500.0)])])
    assert middle(left) == pytest.approx(150 + 1000, rel=0.1)


def test_a_run_that_is_slower_than_those_before_it_stays_slower() -> None:
    left = left_of(
        steady(10, 50), Work("c", WAITING), learned=[past(runs=[(1000, 50.0)]), past("c", runs=[(1000, 50.0)])]
    )
    assert 45 + 70 < middle(left) < 50 + 100


def test_a_phase_that_came_in_earlier_runs_is_expected_before_it_comes() -> None:
    """The last tenth of the items took nine tenths of the time; nothing of it has been seen in this run."""
    profile = [0.1 * share / 18 for share in range(1, 19)] + [0.55, 1.0]
    left = left_of(steady(10, 50), learned=[past(runs=[(1000, 1000.0)] * 5, profile=profile)])
    assert middle(left) == pytest.approx(1000 - 55, rel=0.15)


def test_the_last_run_says_how_far_a_total_that_grows_will_grow() -> None:
    growing = steady(10, 50, totals=[(float(5 * step), 100 * step) for step in range(1, 11)])
    left = left_of(growing, learned=[past(total=3000, runs=[(3000, 300.0)] * 5)])
    assert middle(left) == pytest.approx(250, rel=0.1)


def test_the_total_of_the_last_run_stands_in_for_one_that_is_not_known() -> None:
    left = left_of(steady(10, 50, total=0), learned=[past(total=1000, runs=[(1000, 100.0)] * 5)])
    assert middle(left) == pytest.approx(50, rel=0.1)
