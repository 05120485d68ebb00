"""Health is a pure function of silences and of a run's rhythm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.progress.health import Health, assess


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
    assert assess(since_heartbeat=heartbeat, since_progress=progress, gap=gap) == expected


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e4))
def test_longer_silence_is_never_better(silence: float, longer: float, gap: float) -> None:
    order = list(Health)
    words = [
        assess(since_heartbeat=seconds, since_progress=seconds, gap=gap) for seconds in (silence, silence + longer)
    ]
    assert order.index(words[0]) <= order.index(words[1])
