"""A limit of how often something may be done, by whoever does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Final

# Sums of seconds are rounded: a call that is early by less than this is in time.
_ROUNDING: Final = 1e-6


class Throttle:
    """A token bucket for each caller: it is full at first, a call takes tokens, and it refills evenly.

    A bucket holds ``burst_seconds`` of the rate. All methods may be called from any thread. A bucket that is full again
    is forgotten at the next call after ``burst_seconds``, so the memory is bounded by how many call at one time.
    """

    def __init__(self, burst_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst_seconds = burst_seconds
        self._clock = clock
        self._lock = Lock()
        self._full_at: dict[Hashable, float] = {}  # when a caller's bucket is full again, if nothing more is taken
        self._next_sweep = clock() + burst_seconds

    def take(self, caller: Hashable, rate: float, cost: float = 1.0) -> float:
        """Take ``cost`` tokens from the caller's bucket, which refills with ``rate`` tokens a second.

        Returns 0.0, or where too few are left, the seconds until there are enough; then none is taken. What costs more
        than a full bucket takes a full bucket.
        """
        with self._lock:
            now = self._clock()
            if now >= self._next_sweep:
                self._sweep(now)
            full_at = max(self._full_at.get(caller, now), now) + min(cost / rate, self._burst_seconds)
            wait = full_at - now - self._burst_seconds
            if wait > _ROUNDING:
                return wait
            self._full_at[caller] = full_at
            return 0.0

    def __len__(self) -> int:
        """Return the number of buckets that are remembered."""
        return len(self._full_at)

    def _sweep(self, now: float) -> None:
        self._full_at = {caller: full_at for caller, full_at in self._full_at.items() if full_at > now}
        self._next_sweep = now + self._burst_seconds
