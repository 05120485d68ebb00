"""The percentage of a run is a pure function; most of its promises are properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress.percentage import Part, overall_percent
from apps.progress.transitions import StageState

parts = st.builds(
    Part,
    state=st.sampled_from(StageState),
    weight=st.floats(0.001, 1e6),
    current=st.integers(0, 10**9),
    total=st.integers(0, 10**9),
)


@given(st.lists(parts, max_size=6), st.floats(0, 100))
def test_percent_is_in_range_and_never_under_its_floor(stages: list[Part], floor: float) -> None:
    assert floor <= overall_percent(stages, floor) <= 100


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=6))
def test_percent_is_100_when_every_stage_is_over(weights: list[float]) -> None:
    done = [Part(StageState.DONE, weight, 3, 7) for weight in weights]
    assert overall_percent(done, 0) == pytest.approx(100)


def test_percent_is_weighted() -> None:
    stages = [Part(StageState.DONE, 1, 10, 10), Part(StageState.ACTIVE, 3, 5, 10), Part(StageState.WAITING, 1, 0, 10)]
    assert overall_percent(stages, 0) == pytest.approx(100 * (1 + 1.5) / 5)


def test_an_unknown_total_counts_for_nothing() -> None:
    assert overall_percent([Part(StageState.ACTIVE, 1, 5, 0)], 0) == 0


def test_percent_without_stages_is_its_floor() -> None:
    assert overall_percent([], 12.5) == 12.5
