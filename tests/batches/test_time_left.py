"""The time left of datasets that are done side by side."""

from __future__ import annotations

import pytest

from apps.batches.time_left import time_left, usual_duration
from apps.progress.estimates import SecondsRange


def exactly(seconds: float) -> SecondsRange:
    return SecondsRange(seconds, seconds)


@pytest.mark.parametrize(
    ("running", "waiting", "usual", "expected"),
    [
        ([exactly(30)], 0, None, 30),
        ([exactly(30), exactly(50)], 0, None, 50),
        ([exactly(30)], 2, exactly(100), 230),
        ([exactly(30), exactly(50)], 3, exactly(100), 230),  # 30 → 130 → 230, 50 → 150
        ([None, exactly(5)], 0, exactly(60), 60),
        ([None], 0, None, None),
        ([exactly(30)], 1, None, None),
        ([], 0, None, None),
        ([], 3, exactly(10), None),  # nobody works, so nobody knows when
    ],
    ids=str,
)
def test_side_by_side(
    running: list[SecondsRange | None], waiting: int, usual: SecondsRange | None, expected: float | None
) -> None:
    assert time_left(running, waiting, usual) == (None if expected is None else exactly(expected))


def test_range_of_the_usual_duration() -> None:
    assert usual_duration([]) is None
    assert usual_duration([60.0]) == SecondsRange(40.0, 90.0)
    assert usual_duration([10.0, 20.0, 30.0, 40.0, 50.0]) == SecondsRange(20.0, 40.0)


def test_low_and_high_ends_are_kept_apart() -> None:
    assert time_left([SecondsRange(10, 20)], 2, SecondsRange(5, 10)) == SecondsRange(20, 40)
