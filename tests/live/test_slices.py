"""Watchers have a share of the event loop, however long its rounds are."""

from __future__ import annotations

import asyncio

import pytest

from apps.live.slices import Slices

from .test_watcher import in_a_loop


class Loop:
    """Work of others in each round of the event loop, on a clock that only work moves."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.now = 0.0
        self.rounds = 0

    def clock(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += self._seconds
        self.rounds += 1
        asyncio.get_running_loop().call_soon(self.work)


@pytest.mark.parametrize(("others", "fewest", "most"), [(0.0, 400, 600), (0.01, 150, 220), (3.0, 90, 110)])
def test_watchers_have_a_third_of_a_busy_loop(others: float, fewest: int, most: int) -> None:
    """A thousand of them take a second. It is cut into slices of half a round, of at least 2 ms and at most 10."""

    async def main() -> None:
        loop = Loop(others)
        loop.work()
        slices = Slices(loop.clock)
        for _ in range(1_000):
            loop.now += 0.001
            await slices.pause()
        assert fewest <= loop.rounds <= most

    in_a_loop(main)
