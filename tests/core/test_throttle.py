"""A token bucket for each caller."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from apps.core.throttle import Throttle


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=[0.0, 1e7], ids=["new machine", "after months"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return Clock(request.param)


@pytest.mark.parametrize(("rate", "burst_seconds"), [(1, 5.0), (3, 5.0), (20, 1.0), (100, 5.0), (7, 0.9)])
def test_a_burst_is_allowed_and_no_more(clock: Clock, rate: int, burst_seconds: float) -> None:
    throttle = Throttle(burst_seconds, clock=clock)
    waits = [throttle.take("ada", rate) for _ in range(rate * 10)]
    burst = int(rate * burst_seconds)
    assert waits[:burst] == [0.0] * burst
    assert all(waits[burst:])


@pytest.mark.parametrize("rate", [1, 3, 20])
def test_the_bucket_refills_evenly(clock: Clock, rate: int) -> None:
    throttle = Throttle(2.0, clock=clock)
    while not throttle.take("ada", rate):
        pass
    for _ in range(50):
        wait = throttle.take("ada", rate)
        assert wait == pytest.approx(1 / rate, abs=1e-4)
        clock.now += wait
        assert throttle.take("ada", rate) == 0.0


def test_a_refused_call_takes_nothing(clock: Clock) -> None:
    throttle = Throttle(1.0, clock=clock)
    throttle.take("ada", 1)
    assert [throttle.take("ada", 1) for _ in range(3)] == pytest.approx([1.0] * 3)


def test_no_more_than_a_burst_is_saved_up(clock: Clock) -> None:
    throttle = Throttle(2.0, clock=clock)
    throttle.take("ada", 10)
    clock.now += 1000
    assert sum(not throttle.take("ada", 10) for _ in range(100)) == 20


def test_callers_have_buckets_of_their_own(clock: Clock) -> None:
    throttle = Throttle(1.0, clock=clock)
    assert [throttle.take(name, 1) == 0.0 for name in ("ada", "ada", "bob", "bob")] == [True, False, True, False]


def test_full_buckets_are_forgotten_and_others_are_not(clock: Clock) -> None:
    throttle = Throttle(5.0, clock=clock)
    for number in range(1000):
        throttle.take(number, 1)
    for _ in range(5):
        throttle.take("ada", 1)
    assert len(throttle) == 1001
    clock.now += 4.5
    throttle.take("ada", 1)
    clock.now += 0.5
    throttle.take("bob", 1)
    assert len(throttle) == 2
    # Ada has taken six in five seconds, which leaves her four.
    assert [throttle.take("ada", 1) == 0.0 for _ in range(5)] == [True] * 4 + [False]


def test_threads_take_no_more_than_there_is() -> None:
    throttle = Throttle(5.0, clock=Clock())
    barrier = Barrier(8)

    def take(_: int) -> int:
        barrier.wait(30)
        return sum(not throttle.take("ada", 100) for _ in range(1000))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 500


def test_what_costs_more_takes_more(clock: Clock) -> None:
    throttle = Throttle(2.0, clock=clock)
    assert [throttle.take("ada", 5, cost=4) == 0.0 for _ in range(3)] == [True, True, False]
    assert throttle.take("ada", 5, cost=2) == 0.0
    assert throttle.take("ada", 5, cost=4) == pytest.approx(4 / 5, abs=1e-4)


def test_what_costs_more_than_a_full_bucket_takes_a_full_bucket(clock: Clock) -> None:
    throttle = Throttle(2.0, clock=clock)
    assert throttle.take("ada", 5, cost=1000) == 0.0
    assert throttle.take("ada", 5, cost=1000) == pytest.approx(2.0, abs=1e-4)
