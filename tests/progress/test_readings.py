"""The readings that a stage keeps, and its rate."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress import readings
from apps.progress.readings import KEPT, Reading

reports = st.lists(st.tuples(st.floats(0.001, 3600), st.integers(0, 10**6)), max_size=300)


def kept_of(steps: list[tuple[float, int]], share: float = 0.5) -> list[Reading]:
    """What is kept of reports, each (seconds since the one before, items done since), at a share that is done."""
    seconds, done, kept = 0.0, 0, list[Reading]()
    for gap, more in steps:
        seconds, done = seconds + gap, done + more
        if readings.is_due(kept, seconds, share):
            kept = readings.with_reading(kept, seconds, done)
    return kept


def steady(per_second: float, seconds: int) -> list[Reading]:
    return [(float(second), int(per_second * second)) for second in range(seconds + 1)]


@given(reports)
def test_readings_stay_few_and_in_order_and_keep_the_first_and_the_last(steps: list[tuple[float, int]]) -> None:
    kept = kept_of(steps)
    assert len(kept) <= KEPT
    assert all(earlier[0] < later[0] and earlier[1] <= later[1] for earlier, later in pairwise(kept))
    if steps:
        end = sum(gap for gap, _ in steps)
        assert kept[0][0] == pytest.approx(steps[0][0], abs=0.001)
        assert kept[0][1] == steps[0][1]
        assert end - kept[-1][0] <= max(readings.ENOUGH_SECONDS, readings.ENOUGH_SHARE * end) + 0.001


@pytest.mark.parametrize("seconds", [20, 300, 36_000])
def test_readings_of_a_long_stage_cover_all_of_it_and_the_end_most_densely(seconds: int) -> None:
    kept = kept_of([(seconds / 20_000, 1)] * 20_000)
    gaps = [after - before for (before, _), (after, _) in pairwise(kept)]
    assert len(kept) == KEPT
    assert max(gaps) < seconds / 8
    assert max(gaps[-10:]) < seconds / 50


def test_a_stage_that_will_be_short_has_close_readings_and_a_long_one_has_not() -> None:
    reports = [(0.01, 1)] * 300
    assert len(kept_of(reports, share=0.5)) > 50
    assert len(kept_of(reports, share=0.001)) < 10
    assert len(kept_of(reports, share=0)) < 10


def test_a_total_that_changes_often_keeps_its_first_and_its_newest_value() -> None:
    totals: list[Reading] = []
    for step in range(100):
        totals = readings.with_total(totals, float(step), 100 + step)
    assert len(totals) == readings.TOTALS_KEPT
    assert (totals[0], totals[-1]) == ((0.0, 100), (99.0, 199))


@given(reports)
def test_a_rate_is_none_or_finite_and_not_negative(steps: list[tuple[float, int]]) -> None:
    kept = kept_of(steps)
    rate = readings.rate(kept)
    assert rate is None if len(kept) < 2 else rate is not None and 0 <= rate < math.inf


@given(st.integers(1, 10_000), st.integers(3, 200))
def test_the_rate_of_steady_work_is_its_rate(per_second: int, seconds: int) -> None:
    assert readings.rate(steady(per_second, seconds)) == pytest.approx(per_second)


def test_the_rate_follows_what_happens_of_late() -> None:
    slow = steady(10, 100)
    then_fast = [(100.0 + second, 1000 + 100 * second) for second in range(1, 41)]
    assert readings.rate(slow + then_fast) == pytest.approx(100, rel=0.15)
