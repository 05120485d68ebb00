"""Count what a bar of tqdm counts, as a stage of a run."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from dataset_progress import _values as values
from dataset_progress._callers import current_task
from dataset_progress._run import Run, session_of
from dataset_progress._stages import Stage, stage_name

# Numbers that stand alone, as in "Epoch 3/70", with the brackets around them; not those in "resnet50".
_NUMBERS = re.compile(r"[(\[{#]*(?<![\w.])\d+(?:[.,/:]\d+)*%?(?!\w)[)\]}]*")
_EDGES = " \t:=,;/|.-"


def stage_of(bar: Any, desc: object = None) -> Stage:
    """Return the stage for a bar: its description, or ``desc`` for a hidden bar, which does not keep its own.

    Descriptions that differ in nothing but numbers are one stage.
    """
    described = str(getattr(bar, "desc", "") or desc or "")[:1000]
    name = stage_name(" ".join(_NUMBERS.sub(" ", described).split()).strip(_EDGES))
    unit = str(getattr(bar, "unit", None) or "it")
    return Stage(name, unit="items" if unit == "it" else unit)


def is_short(bar: Any) -> bool:
    """Return whether the bar has counted less than its total."""
    return bool(bar.total and bar.n < bar.total)


def _scale_of(bar: Any) -> float:
    """Return what the bar multiplies its numbers by to show them in its unit."""
    scale = getattr(bar, "unit_scale", False)
    return 1 if isinstance(scale, bool) else values.number(scale) or 1


class BarCounter:
    """Counts what a bar counts.

    ``in_loop``: the items of the bar's own loop, which the bar itself counts only from time to time. ``by_hand``: what
    `update` has added to a hidden bar, which does not count at all.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = weakref.ref(bar)
        self._scale = _scale_of(bar)
        self._initial = bar.n
        self.in_hand = 0
        self.in_loop = 0
        self.by_hand: float = 0
        self._is_fractional = False
        self._done: float = 0
        self._total: float | None = None
        self._message = ""

    @property
    def is_over(self) -> bool:
        """Whether the bar is complete or gone, even if nobody has closed it."""
        return self._bar() is None or bool(self.total and self.done >= self.total)

    @property
    def done(self) -> float:
        if (bar := self._bar()) is not None:
            by_hand = self.by_hand if bar.n == self._initial else 0
            self._done = max(self.in_loop, (values.number(bar.n) or 0) + by_hand) * self._scale
        return self._done

    @property
    def total(self) -> float | None:
        if (bar := self._bar()) is not None:
            total = values.number(bar.total)
            self._total = None if total is None else total * self._scale
        return self._total

    @property
    def is_fractional(self) -> bool:
        """Whether a fraction has been seen."""
        if not self._is_fractional:
            self._is_fractional = self.done % 1 != 0 or (self.total or 0) % 1 != 0
        return self._is_fractional

    @property
    def message(self) -> str:
        """The postfix of the bar."""
        if (bar := self._bar()) is not None and isinstance(postfix := getattr(bar, "postfix", None), str):
            self._message = values.text(postfix, 1000)
        return self._message


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

    def stop(self, *, was_left: bool = False) -> None:
        """Keep what the bar has counted, and stop counting. Repeating it is harmless."""
        self.is_following = False
        self._session.counts.remove(self._stage, self.counter, owner=self.counter, was_left=was_left)

    def count_by_hand(self, n: float | None) -> None:
        """Count what a hidden bar is updated by."""
        self.counter.by_hand += values.number(n) or 0

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
        counter.in_hand = 1
        try:
            for item in items:
                if control.is_requested:
                    control.wait_while_paused()
                yield item
                done += 1
                counter.in_loop = done
        except GeneratorExit:
            self.stop(was_left=True)
            raise
        finally:
            counter.in_hand = 0
