"""Rate, time left, percentage and health are pure functions; most of their promises are properties."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress import estimates
from apps.progress.estimates import Health, Part, Reading
from apps.progress.transitions import StageState

parts = st.builds(
    Part,
    state=st.sampled_from(StageState),
    weight=st.floats(0.001, 1e6),
    current=st.integers(0, 10**9),
    total=st.integers(0, 10**9),
)


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


# --- Percentage -----------------------------------------------------------------------------------------------------


@given(st.lists(parts, max_size=6), st.floats(0, 100))
def test_percent_is_in_range_and_never_under_its_floor(stages: list[Part], floor: float) -> None:
    assert floor <= estimates.overall_percent(stages, floor) <= 100


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=6))
def test_percent_is_100_when_every_stage_is_over(weights: list[float]) -> None:
    done = [Part(StageState.DONE, weight, 3, 7) for weight in weights]
    assert estimates.overall_percent(done, 0) == pytest.approx(100)


def test_percent_is_weighted() -> None:
    stages = [Part(StageState.DONE, 1, 10, 10), Part(StageState.ACTIVE, 3, 5, 10), Part(StageState.WAITING, 1, 0, 10)]
    assert estimates.overall_percent(stages, 0) == pytest.approx(100 * (1 + 1.5) / 5)


def test_an_unknown_total_counts_for_nothing() -> None:
    assert estimates.overall_percent([Part(StageState.ACTIVE, 1, 5, 0)], 0) == 0


def test_percent_without_stages_is_its_floor() -> None:
    assert estimates.overall_percent([], 12.5) == 12.5


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


# --- Health ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heartbeat", "progress", "gap", "expected"),
    [
        (0, 0, 0, "live"),
        (15, 15, 0, "live"),
        (15.1, 15.1, 0, "slow"),
        (60, 60, 0, "slow"),
        (1, 60.1, 0, "stalled"),  # alive, and its count stands
        (1, 86_400, 0, "stalled"),  # however long
        (120, 120, 0, "stalled"),
        (120.1, 120.1, 0, "lost"),  # nothing at all is heard
        (39, 39, 10, "live"),  # its usual step takes 10 s
        (41, 41, 10, "slow"),
        (101, 101, 10, "stalled"),
        (199, 199, 10, "stalled"),
        (201, 201, 10, "lost"),
    ],
)
def test_health(heartbeat: float, progress: float, gap: float, expected: str) -> None:
    assert estimates.health(since_heartbeat=heartbeat, since_progress=progress, gap=gap) == expected


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e4))
def test_longer_silence_is_never_better(silence: float, longer: float, gap: float) -> None:
    order = list(Health)
    words = [
        estimates.health(since_heartbeat=seconds, since_progress=seconds, gap=gap)
        for seconds in (silence, silence + longer)
    ]
    assert order.index(words[0]) <= order.index(words[1])


def test_the_usual_gap_is_the_median_of_the_last_dozen() -> None:
    assert estimates.usual_gap([]) == estimates.usual_gap([(1.0, 1)]) == 0
    assert estimates.usual_gap([(0.0, 0), (2.0, 1), (4.0, 2), (104.0, 3)]) == 2
    long_ago = [(float(100 * step), step) for step in range(20)]
    assert estimates.usual_gap(long_ago + [(2000.0 + step, 20 + step) for step in range(12)]) == 1
