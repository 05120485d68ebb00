"""Follow the bars that libraries make: one at a time, the outermost, as a stage of a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from . import _outer
from ._run import Run, session_of

NOTHING_SEEN = "No progress was seen."


class Follower(Protocol):
    """What reports one bar."""

    is_following: bool

    @property
    def is_over(self) -> bool:
        """Whether the bar is complete or gone, even if nobody has ended it."""

    def stop(self, *, was_left: bool = False) -> None:
        """Keep what the bar has counted, and stop counting. ``was_left``: whether it ended before its total."""


F = TypeVar("F", bound=Follower)


class Capture:
    """Follows one bar at a time in ``run``, the outermost. Bars that open meanwhile are details of what it counts."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.renew_lock()
        self._follower: Follower | None = None

    def renew_lock(self) -> None:
        """Replace the lock, which another thread may have held when this process was forked."""
        self._lock = threading.RLock()

    def follow(self, begin: Callable[[], F]) -> F | None:
        """Return the follower that ``begin`` makes of a bar; None if the bar is a detail of another."""
        with self._lock:
            if (current := self._follower) is not None and current.is_following:
                if not current.is_over:
                    return None
                current.stop()
            settings = session_of(self.run).settings
            if _outer.is_within_loop(settings.dataset_id, settings.server):
                return None
            self._follower = follower = begin()
            return follower


@contextmanager
def capture_in_run(dataset: str, options: dict[str, Any]) -> Iterator[Capture]:
    """Yield a capture in a new run of ``dataset``, which says so if it ends without having seen a bar."""
    with Run(dataset, **options) as run:
        try:
            yield Capture(run)
        except CancelledError:
            session_of(run).control.raise_if_cancelled()
            raise
        session_of(run).counts.end_if_empty(NOTHING_SEEN)


class Captures:
    """The captures of one library that are under way, of which the newest counts.

    ``wrap`` begins to tell them of the library's bars, and returns what ends that.
    """

    def __init__(self, wrap: Callable[[], Callable[[], None]]) -> None:
        self._wrap = wrap
        self._captures: list[Capture] = []
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        for capture in self._captures:
            capture.renew_lock()

    @property
    def newest(self) -> Capture | None:
        return next(iter(self._captures[-1:]), None)

    @contextmanager
    def adding(self, capture: Capture) -> Iterator[None]:
        """Tell ``capture`` of the library's bars within the block."""
        with self._lock:
            if not self._captures:
                self._unwrap = self._wrap()
            self._captures.append(capture)
        try:
            yield
        finally:
            with self._lock:
                self._captures.remove(capture)
                if not self._captures:
                    self._unwrap()
