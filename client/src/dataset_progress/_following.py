"""Report what another object counts, as a stage of a run."""

from __future__ import annotations

import threading

from ._counting import Counter
from ._run import Run, session_of


class CounterFollower:
    """Reports ``counter`` as a stage of ``run``, until it is stopped. It is a `Follower`.

    ``is_following``: whether it has not been stopped.
    """

    def __init__(self, run: Run, counter: Counter, stage: str) -> None:
        self._session = session_of(run)
        self._counter = counter
        self._stage = stage
        self.is_following = True
        # The counter is its own owner, because two bars of one thread both count.
        self._session.count(stage, counter, owner=counter)

    @property
    def is_over(self) -> bool:
        """Whether all is counted, even if nobody has stopped it."""
        total = self._counter.total
        return total is not None and total > 0 and self._counter.done >= total

    def stop(self, *, was_left: bool = False) -> None:
        """Keep what was counted, and stop counting. Repeating it is harmless."""
        self.is_following = False
        self._session.counts.remove(self._stage, self._counter, owner=self._counter, was_left=was_left)

    def hold(self) -> None:
        """Wait while the run is paused, unless that would block an event loop. Raises `Cancelled`."""
        if self._session.control.is_requested:
            self._session.control.hold()


class Region(threading.local):
    """A part of the program that a thread is in; a context manager. It may be entered again within itself."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *exception: object) -> None:
        self.depth -= 1
