"""Health is a pure function of two silences and of a run's rhythm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress.health import Health, assess, count_at, is_behind, usual_rate


@pytest.mark.parametrize(
    ("sign", "progress", "sign_gap", "gap", "expected"),
    [
        (0, 0, 0, 0, "live"),
        (1, 60, 0, 0, "live"),  # nothing is usual yet, so nothing is slower than that
        (1, 60.1, 0, 0, "stalled"),  # alive, and its count stands
        (1, 86_400, 0, 0, "stalled"),  # however long
        (61, 61, 5, 0, "slow"),  # nothing shows that it is alive
        (31, 31, 5, 0, "slow"),
        (29, 29, 5, 0, "live"),
        (100, 100, 0, 0, "live"),  # heard once: whether it gives signs of life at all is not known
        (120, 120, 5, 0, "slow"),
        (120.1, 120.1, 5, 0, "lost"),
        (120.1, 120.1, 0, 0, "lost"),
        (59, 59, 10, 10, "live"),  # it reports every 10 s
        (61, 61, 10, 10, "slow"),
        (59, 101, 10, 10, "stalled"),
        (199, 199, 10, 10, "slow"),
        (201, 201, 10, 10, "lost"),
        (4, 3000, 5, 3600, "live"),  # its items take an hour, and it gives a sign every 5 s
        (130, 3000, 5, 3600, "lost"),
    ],
)
def test_health(sign: float, progress: float, sign_gap: float, gap: float, expected: str) -> None:
    assert assess(since_sign=sign, since_progress=progress, sign_gap=sign_gap, gap=gap) == expected


def test_a_run_that_does_less_than_usual_is_slow_unless_it_is_worse() -> None:
    assert assess(since_sign=1, since_progress=1, sign_gap=1, gap=1, is_behind=True) == "slow"
    assert assess(since_sign=1, since_progress=61, sign_gap=1, gap=1, is_behind=True) == "stalled"
    assert assess(since_sign=121, since_progress=121, sign_gap=1, gap=1, is_behind=True) == "lost"


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0, 1e4), st.booleans())
def test_longer_silence_is_never_better(
    silence: float, longer: float, sign_gap: float, gap: float, is_behind: bool
) -> None:
    order = list(Health)
    words = [
        assess(since_sign=seconds, since_progress=seconds, sign_gap=sign_gap, gap=gap, is_behind=is_behind)
        for seconds in (silence, silence + longer)
    ]
    # A stalled run is one that gives signs of life, so one that falls silent is stalled no more.
    assert words[0] == "stalled" or order.index(words[0]) <= order.index(words[1])


@given(st.floats(31, 1e6), st.floats(0, 5), st.floats(0, 1e4))
def test_without_signs_of_life_nothing_is_stalled(silence: float, sign_gap: float, gap: float) -> None:
    assert assess(since_sign=silence, since_progress=silence, sign_gap=sign_gap, gap=gap) != "stalled"


# --- The usual ------------------------------------------------------------------------------------------------------


def steady(per_second: int, seconds: int) -> list[tuple[float, int]]:
    return [(float(second), per_second * second) for second in range(seconds + 1)]


def test_nothing_is_usual_before_four_windows() -> None:
    assert usual_rate([], 15) == usual_rate(steady(10, 59), 15) == 0
    assert usual_rate(steady(10, 60), 15) == pytest.approx(10)


def test_a_burst_at_the_beginning_is_not_usual() -> None:
    burst = [(0.0, 0), (1.0, 50_000)]
    after = [(1.0 + second, 50_000 + 10 * second) for second in range(1, 100)]
    assert usual_rate(burst + after, 15) == pytest.approx(10)


def test_counts_between_readings_are_in_proportion() -> None:
    assert [count_at([(0.0, 0), (10.0, 100)], at) for at in (-1, 0, 2.5, 10, 11)] == [0, 0, 25, 100, 100]


@pytest.mark.parametrize(
    ("per_second", "expected"), [(10, False), (3, False), (2, True), (0, True)]  # of usually 10
)  # fmt: skip
def test_less_than_a_quarter_of_the_usual_is_slow(per_second: int, expected: bool) -> None:
    taken = steady(10, 100)
    taken += [(100.0 + second, 1000 + per_second * second) for second in range(1, 16)]
    done = 1000 + per_second * 15
    assert is_behind(taken, 115.0, done, 15.0, usual_rate(taken, 15.0)) is expected


def test_where_nothing_is_usual_nothing_is_slow() -> None:
    assert not is_behind([], 100.0, 0, 15.0, 5.0)
    assert not is_behind(steady(10, 20), 100.0, 200, 15.0, 0.0)
