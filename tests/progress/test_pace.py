"""How long the items ahead will take: the situations that the models are for, with fixed chance."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress.pace import BINS, MOST, Pace, Point

points = st.lists(st.tuples(st.floats(0.001, 1e6), st.integers(1, 10**12)), min_size=2, max_size=64)


def done_at(durations: Sequence[float], every: int = 1) -> list[Point]:
    """The readings of items that take so long, one after each ``every`` of them."""
    times = list(accumulate(durations, initial=0.0))
    return [(time, float(items)) for items, time in enumerate(times) if items % every == 0]


def along(steps: Sequence[tuple[float, int]]) -> list[Point]:
    times, items = accumulate(gap for gap, _ in steps), accumulate(more for _, more in steps)
    return [(0.0, 0.0), *((time, float(count)) for time, count in zip(times, items, strict=True))]


@given(points, st.floats(0, 1e15))
def test_a_guess_is_finite_and_not_negative_and_its_spread_is_bounded(
    steps: list[tuple[float, int]], ahead: float
) -> None:
    guess = Pace(along(steps)).guess(ahead)
    assert 0 <= guess.seconds < math.inf
    assert 0 <= guess.spread <= MOST
    assert (guess.seconds == 0) == (ahead == 0)


@given(points)
def test_bins_are_few_and_hold_all_items_and_all_time(steps: list[tuple[float, int]]) -> None:
    readings = along(steps)
    pace = Pace(readings)
    assert 1 <= pace.bins <= 2 * BINS
    assert pace.pace(0, pace.bins) == pytest.approx(readings[-1][0] / readings[-1][1])


@given(points, st.floats(1, 1e6), st.floats(0.01, 1e4))
def test_twice_as_slow_takes_twice_as_long(steps: list[tuple[float, int]], ahead: float, slower: float) -> None:
    readings = along(steps)
    guess, scaled = Pace(readings).guess(ahead), Pace([(t * slower, n) for t, n in readings]).guess(ahead)
    assert scaled.seconds == pytest.approx(guess.seconds * slower, rel=1e-3)
    assert scaled.spread == pytest.approx(guess.spread, rel=1e-2, abs=1e-3)


def test_steady_work_goes_on_and_is_nearly_certain() -> None:
    guess = Pace(done_at([2.0] * 50)).guess(100)
    assert guess.seconds == pytest.approx(200)
    assert guess.spread < 0.05


def test_work_that_slows_down_goes_on_slowing_down() -> None:
    durations = [1 + n / 50 for n in range(200)]
    guess = Pace(done_at(durations[:100])).guess(100)
    assert guess.seconds == pytest.approx(sum(durations[100:]), rel=0.05)


def test_work_that_becomes_faster_does_not_become_endlessly_fast() -> None:
    guess = Pace(done_at([1 - n / 120 for n in range(100)])).guess(1000)
    assert 0.05 * 1000 < guess.seconds < 0.5 * 1000


@pytest.mark.parametrize("pace", [0.1, 8.0])
def test_a_second_phase_is_found_soon(pace: float) -> None:
    chance = random.Random(1)
    durations = [chance.lognormvariate(0, 0.3) * (1 if n < 60 else pace) for n in range(75)]
    guess = Pace(done_at(durations)).guess(100)
    assert guess.seconds == pytest.approx(100 * pace * math.exp(0.3**2 / 2), rel=0.3)


def test_bursts_are_expected_to_come_again() -> None:
    """After a burst the mean of all goes on, not the pace of the burst."""
    durations = ([1.0] * 20 + [10.0] * 20) * 3 + [1.0] * 15
    guess = Pace(done_at(durations)).guess(400)
    assert guess.seconds == pytest.approx(400 * 5.5, rel=0.35)


def test_one_large_item_is_no_phase() -> None:
    chance = random.Random(2)
    durations = [chance.lognormvariate(0, 0.3) for _ in range(100)]
    usual = Pace(done_at(durations)).guess(100)
    durations[-5] = 40.0
    assert Pace(done_at(durations)).guess(100).seconds < 2.2 * usual.seconds


def test_uneven_work_is_less_certain_than_even_work() -> None:
    chance = random.Random(3)
    even = Pace(done_at([chance.lognormvariate(0, 0.1) for _ in range(60)])).guess(60)
    uneven = Pace(done_at([chance.paretovariate(1.3) for _ in range(60)])).guess(60)
    assert uneven.spread > 2 * even.spread


def test_few_readings_are_less_certain_than_many() -> None:
    chance = random.Random(4)
    durations = [chance.lognormvariate(0, 0.2) for _ in range(64)]
    assert Pace(done_at(durations[:3])).guess(60).spread > 1.5 * Pace(done_at(durations)).guess(60).spread
