"""Follows a bar of tqdm's, as a stage of a run."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from dataset_progress import _values as values
from dataset_progress._counting import stage_name, task
from dataset_progress._run import Run


def stage_of(bar: Any, desc: object = None) -> str:
    """The stage that a bar is: what it describes. A bar that is not shown does not keep its ``desc``."""
    said = getattr(bar, "desc", "") or desc or ""
    return stage_name(str(said).rstrip(": "))


class BarCell:
    """What a bar counts: by its loop, of which the bar itself knows only now and then, or by hand."""

    def __init__(self, bar: Any) -> None:
        self._bar = weakref.ref(bar)
        self.looped = 0
        self._done = 0
        self._total: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the bar is through, or gone, though nobody has closed it."""
        return self._bar() is None or bool(self.total and self.done >= self.total)

    @property
    def done(self) -> int:
        if (bar := self._bar()) is not None:
            self._done = max(self.looped, values.count(bar.n))
        return self._done

    @property
    def total(self) -> int | None:
        if (bar := self._bar()) is not None:
            self._total = None if bar.total is None else values.count(bar.total)
        return self._total


class Follower:
    """Follows one bar until it is stopped."""

    def __init__(self, run: Run, bar: Any, stage: str) -> None:
        self.run = run
        self._stage = stage
        self.start(bar)

    def start(self, bar: Any) -> None:
        """Count what the bar counts from now on, beside what it has counted before."""
        self.cell = BarCell(bar)
        self.is_following = True
        # Two bars of one thread are two: the cell stands for whoever counts in it.
        self.run._follow(self._stage, self.cell, self.cell)

    def stop(self) -> None:
        """Keep what the bar has counted. Stopping again does nothing."""
        self.is_following = False
        self.run._fold(self._stage, self.cell, self.cell)

    def hold(self) -> None:
        """Wait while the run is paused, where that holds up no event loop. Raises `Cancelled`."""
        if task() is None:
            self.run.hold()
        elif self.run._flag.is_up:
            self.run._must_hold()

    def through(self, items: Iterable[Any], bar: Any) -> Iterator[Any]:
        """The items of the bar's loop, each counted when the loop comes back for the next."""
        cell, flag, done = self.cell, self.run._flag, values.count(bar.n)
        for item in items:
            if flag.is_up:
                self.run.hold()
            yield item
            done += 1
            cell.looped = done
