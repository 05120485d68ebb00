"""New connections wait in line, so that a crowd of them holds up neither those that are open nor each other."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from apps.live.slices import slice_seconds


class Newcomers[Connection]:
    """The connections whose first request has come in: first come, first served, in a turn in each round of the event
    loop.

    ``serve`` reads the request of one and begins to answer it. A connection that waits is not watched by the event
    loop meanwhile, which would look at each of thousands in every round.
    """

    def __init__(self, serve: Callable[[Connection], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._serve = serve
        self._clock = clock
        self._waiting: deque[Connection] = deque()
        self._turn_ended_at = -float("inf")
        self._is_turn_due = False

    def add(self, connection: Connection) -> None:
        """Serve a connection after those that wait already."""
        self._waiting.append(connection)
        self._schedule_turn()

    def _schedule_turn(self) -> None:
        if self._waiting and not self._is_turn_due:
            self._is_turn_due = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_turn_due = False
        now = self._clock()
        ends_at = now + slice_seconds(now - self._turn_ended_at)  # as long as the rest of the round was
        try:
            while self._waiting and self._clock() < ends_at:
                self._serve(self._waiting.popleft())
        finally:
            self._turn_ended_at = self._clock()
            self._schedule_turn()
