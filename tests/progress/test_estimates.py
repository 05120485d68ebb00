"""Rate and time left are pure functions; most of their promises are properties."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress import estimates
from apps.progress.estimates import Reading


@st.composite
def readings(draw: st.DrawFn, min_size: int = 0, max_size: int = 60) -> list[Reading]:
    """Readings as `with_reading` keeps them: later, and never fewer."""
    steps = draw(
        st.lists(
            st.tuples(st.floats(estimates.SPACING_SECONDS, 3600), st.integers(0, 10**6)),
            min_size=min_size,
            max_size=max_size,
        )
    )
    seconds, count, kept = 0.0, 0, []
    for gap, more in steps:
        seconds, count = seconds + gap, count + more
        kept.append((seconds, count))
    return kept


def steady(per_second: float, seconds: int) -> list[Reading]:
    return [(float(second), int(per_second * second)) for second in range(seconds + 1)]


# --- Readings -------------------------------------------------------------------------------------------------------


@given(readings(max_size=200))
def test_readings_stay_few_in_order_and_keep_the_first_and_the_last(taken: list[Reading]) -> None:
    kept: list[Reading] = []
    for seconds, count in taken:
        kept = estimates.with_reading(kept, seconds, count)
        assert len(kept) <= estimates.READINGS_KEPT
        assert all(earlier[0] < later[0] and earlier[1] <= later[1] for earlier, later in pairwise(kept))
    if taken:
        assert kept[0] == pytest.approx(taken[0], abs=0.01)
        # The last is kept, or the one before it where the two are as near as readings may be.
        assert kept[-1][0] >= taken[-1][0] - estimates.SPACING_SECONDS - 0.01


def test_a_reading_too_near_to_the_last_is_left_out() -> None:
    assert estimates.with_reading([(1.0, 10)], 1.49, 20) == [(1.0, 10)]
    assert estimates.with_reading([(1.0, 10)], 1.5, 20) == [(1.0, 10), (1.5, 20)]


def test_a_count_that_fell_is_no_reading() -> None:
    assert estimates.with_reading([(1.0, 10)], 5.0, 9) == [(1.0, 10)]


# --- Rate and time left ---------------------------------------------------------------------------------------------


@given(readings())
def test_a_rate_is_none_or_finite_and_not_negative(taken: list[Reading]) -> None:
    rate = estimates.rate(taken)
    assert rate is None if len(taken) < 2 else rate is not None and 0 <= rate < math.inf


@given(st.integers(1, 10_000), st.integers(3, 200))
def test_the_rate_of_steady_work_is_its_rate(per_second: int, seconds: int) -> None:
    assert estimates.rate(steady(per_second, seconds)) == pytest.approx(per_second)


def test_the_rate_follows_what_happens_of_late() -> None:
    slow = steady(10, 100)
    then_fast = [(100.0 + second, 1000 + 100 * second) for second in range(1, 41)]
    assert estimates.rate(slow + then_fast) == pytest.approx(100, rel=0.15)


@given(readings(), st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0, 100))
def test_a_range_of_time_left_is_ordered_finite_and_not_negative(
    taken: list[Reading], current: int, total: int, later: float
) -> None:
    left = estimates.seconds_left(taken, current, total, later)
    if left is not None:
        assert 0 <= left.low <= left.high < math.inf


@given(st.integers(1, 1000), st.integers(3, 200), st.integers(1, 10_000))
def test_the_range_of_steady_work_holds_what_is_left(per_second: int, seconds: int, ahead: int) -> None:
    done = per_second * seconds
    left = estimates.seconds_left(steady(per_second, seconds), done, done + ahead)
    assert left is not None
    assert left.low <= ahead / per_second <= left.high


def test_the_stages_that_wait_lengthen_the_time_left_in_proportion() -> None:
    alone = estimates.seconds_left(steady(10, 50), 500, 1000)
    followed = estimates.seconds_left(steady(10, 50), 500, 1000, later_weight=2.0)
    assert alone is not None
    assert followed is not None
    assert followed.low == pytest.approx(alone.low * (500 + 2000) / 500)


@pytest.mark.parametrize(
    ("taken", "total"),
    [
        ([], 100),
        (steady(10, 1), 100),  # two readings
        ([(0.0, 0), (0.5, 5), (1.0, 10)], 100),  # one second
        (steady(10, 50), 0),  # how many there are is not known
        ([(float(second), 0) for second in range(20)], 100),  # nothing was done
    ],
)
def test_nothing_is_said_where_there_is_not_enough_to_say(taken: list[Reading], total: int) -> None:
    assert estimates.seconds_left(taken, 0, total) is None
