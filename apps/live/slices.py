"""Fair shares of the event loop for work on thousands of connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

# The least that is worth a round of the event loop, and the most for which all others wait.
SHORTEST_SLICE_SECONDS: Final = 0.002
LONGEST_SLICE_SECONDS: Final = 0.01


def slice_seconds(seconds: float) -> float:
    """Return how long a slice is, in seconds, that should take ``seconds``."""
    return min(max(SHORTEST_SLICE_SECONDS, seconds), LONGEST_SLICE_SECONDS)


class Slices:
    """Slices of time in which many watchers are served, with a round of the event loop after each.

    Where a round is long, because many requests are waiting, the next slice is half as long as the round was. With
    slices of a fixed length, the last of a crowd would wait for hundreds of such rounds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + SHORTEST_SLICE_SECONDS

    async def pause(self) -> None:
        """Let the event loop have its round, if the slice is over."""
        ended_at = self._clock()
        if ended_at < self._ends_at:
            return
        await asyncio.sleep(0)
        now = self._clock()
        self._ends_at = now + slice_seconds((now - ended_at) / 2)
