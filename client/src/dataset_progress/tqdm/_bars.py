"""Count what a bar of tqdm counts, as a stage of a run."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from dataset_progress import _values as values
from dataset_progress._iterating import current_task
from dataset_progress._run import Run, session_of
from dataset_progress._stages import stage_name


def stage_of(bar: Any, desc: object = None) -> str:
    """Return the stage for a bar: its description, or ``desc`` for a hidden bar, which does not keep its own."""
    description = getattr(bar, "desc", "") or desc or ""
    return stage_name(str(description).rstrip(": "))


class BarCounter:
    """Counts what a bar counts.

    ``in_loop``: the items of the bar's own loop, which the bar itself counts only from time to time.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = weakref.ref(bar)
        self.in_loop = 0
        self._done = 0
        self._total: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the bar is complete or gone, even if nobody has closed it."""
        return self._bar() is None or bool(self.total and self.done >= self.total)

    @property
    def done(self) -> int:
        if (bar := self._bar()) is not None:
            self._done = max(self.in_loop, values.count(bar.n))
        return self._done

    @property
    def total(self) -> int | None:
        if (bar := self._bar()) is not None:
            self._total = None if bar.total is None else values.count(bar.total)
        return self._total


class BarFollower:
    """Reports one bar as a stage of ``run``, until it is stopped."""

    def __init__(self, run: Run, bar: Any, stage: str) -> None:
        self.run = run
        self._session = session_of(run)
        self._stage = stage
        self.start(bar)

    def start(self, bar: Any) -> None:
        """Count what the bar counts from now on, in addition to what it has counted before."""
        self.counter = BarCounter(bar)
        self.is_following = True
        # The counter is its own owner, because two bars of one thread both count.
        self._session.count(self._stage, self.counter, owner=self.counter)

    def stop(self) -> None:
        """Keep what the bar has counted, and stop counting. Repeating it is harmless."""
        self.is_following = False
        self._session.counts.remove(self._stage, self.counter, owner=self.counter)

    def check_control(self) -> None:
        """Wait while the run is paused, unless that would block an event loop. Raises `Cancelled`."""
        control = self._session.control
        if current_task() is None:
            control.wait_while_paused()
        elif control.is_requested:
            control.must_wait()

    def iterate(self, items: Iterable[Any], bar: Any) -> Iterator[Any]:
        """Yield the items of the bar's loop. Each counts as done when the next one is asked for."""
        counter, control, done = self.counter, self._session.control, values.count(bar.n)
        for item in items:
            if control.is_requested:
                control.wait_while_paused()
            yield item
            done += 1
            counter.in_loop = done
