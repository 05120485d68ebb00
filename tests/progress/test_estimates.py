"""Rate and time left are pure functions; most of their promises are properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress import estimates
from apps.progress.readings import SPACING_SECONDS, Reading


@st.composite
def readings(draw: st.DrawFn, min_size: int = 0, max_size: int = 60) -> list[Reading]:
    """Readings as `with_reading` keeps them: later, and never fewer."""
    steps = draw(
        st.lists(
            st.tuples(st.floats(SPACING_SECONDS, 3600), st.integers(0, 10**6)),
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


# --- Rate and time left ---------------------------------------------------------------------------------------------


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
