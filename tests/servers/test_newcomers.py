"""New connections are served in the order in which they came, for a part of each round of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from apps.live.slices import LONGEST_SLICE_SECONDS, SHORTEST_SLICE_SECONDS
from progress_site.servers.newcomers import Newcomers
from tests.live.test_slices import Loop
from tests.live.test_watcher import in_a_loop


@pytest.mark.parametrize(
    ("others", "turn"), [(0.0, SHORTEST_SLICE_SECONDS), (0.006, 0.006), (10.0, LONGEST_SLICE_SECONDS)]
)
def test_crowd_is_served_in_order_for_half_of_the_time(others: float, turn: float) -> None:
    """Each takes a tenth of a turn. The first turn may be long."""

    async def main() -> None:
        loop = Loop(others)
        served: list[int] = []

        def serve(newcomer: int) -> None:
            served.append(newcomer)
            loop.now += turn / 10

        newcomers = Newcomers(serve, loop.clock)
        newcomers.add(-1)
        await asyncio.sleep(0)
        loop.work()
        for newcomer in range(1_000):
            newcomers.add(newcomer)
        before = loop.rounds
        while len(served) < 1_001:  # noqa: ASYNC110 -- no event marks it
            await asyncio.sleep(0)
        assert served == list(range(-1, 1_000))
        assert 90 <= loop.rounds - before <= 110

    in_a_loop(main)


def test_one_that_fails_holds_up_no_other() -> None:
    async def main() -> None:
        served: list[str] = []
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))

        def serve(newcomer: str) -> None:
            if newcomer == "broken":
                raise OSError(newcomer)
            served.append(newcomer)

        newcomers = Newcomers(serve)
        for newcomer in ("first", "broken", "last"):
            newcomers.add(newcomer)
        async with asyncio.timeout(10):
            while "last" not in served:  # noqa: ASYNC110 -- no event marks it
                await asyncio.sleep(0)
        assert served == ["first", "last"]
        assert [str(error) for error in errors] == ["broken"]

    in_a_loop(main)
