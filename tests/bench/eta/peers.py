"""What tqdm and the plain mean say of the time left, told the same trace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from .trace import Trace

# What was there this early (a share of the run) was there when it began: `initial`, in terms of tqdm.
AT_FIRST = 0.01


class Bar(tqdm):  # type: ignore[type-arg]  # tqdm is generic in what it iterates over, and this iterates over nothing
    """A bar of tqdm, as one draws it over a run, with the clock of the trace."""

    monitor_interval = 0

    def __init__(self, trace: Trace, smoothing: float, nowhere: IO[str]) -> None:
        self._amounts = Amounts(trace)
        super().__init__(
            total=self._amounts.total, initial=self._amounts.initial, smoothing=smoothing, miniters=1, file=nowhere
        )
        self.seconds = 0.0
        self._time = lambda: self.seconds
        self.start_t = self.last_print_t = 0.0

    def left_at(self, moments: Iterable[float]) -> Iterator[float | None]:
        """Yield the seconds left at each of these seconds, as tqdm works them out from its `format_dict`."""
        for moment in moments:
            for seconds, done, total in self._amounts.until(moment):
                self.seconds, self.total = seconds, total
                self.update(done - self.n)
            self.seconds = moment
            told = self.format_dict
            rate = told["rate"] or ((told["n"] - told["initial"]) / told["elapsed"] if told["elapsed"] else None)
            yield (told["total"] - told["n"]) / rate if rate and told["total"] else None


class Amounts:
    """How much of a run is done: items of its one stage; of several, the sum of their shares, by planned weight."""

    def __init__(self, trace: Trace) -> None:
        self._events = list(trace.events)
        self._weights = {stage.name: stage.weight for stage in trace.stages}
        self._totals = {stage.name: stage.total for stage in trace.stages}
        self._done: dict[str, float] = dict.fromkeys(self._weights, 0.0)
        self._last = ""
        first = self._events[0]
        self.total: float = self._take(first)[1]
        self.initial: float = self._take(first)[0] if first[0] <= AT_FIRST * trace.end else 0.0

    def until(self, moment: float) -> Iterator[tuple[float, float, float]]:
        """Yield (seconds, done, total) of the next events, up to ``moment``."""
        while self._events and self._events[0][0] <= moment:
            event = self._events.pop(0)
            yield event[0], *self._take(event)

    def _take(self, event: tuple[float, str, int, int]) -> tuple[float, float]:
        _, stage, current, total = event
        if len(self._weights) <= 1 and stage in (self._last or stage):
            self._last = stage
            return float(current), float(total)
        if self._last not in ("", stage):
            self._done[self._last] = 1.0
        self._last = stage
        total = total or self._totals.get(stage, 0)
        self._weights.setdefault(stage, 1.0)
        self._done[stage] = min(current / total, 1.0) if total else 0.0
        done = sum(self._weights[name] * share for name, share in self._done.items())
        return done, sum(self._weights.values())


def tqdm_left(trace: Trace, smoothing: float, moments: Iterable[float]) -> list[float | None]:
    with Path(os.devnull).open("w") as nowhere:
        bar = Bar(trace, smoothing, nowhere)
        return list(bar.left_at(moments))


def mean_left(trace: Trace, moments: Iterable[float]) -> list[float | None]:
    """Return the seconds left by the mean rate since the run began."""
    amounts = Amounts(trace)
    done, total = amounts.initial, amounts.total
    left: list[float | None] = []
    for moment in moments:
        for _, *amount in amounts.until(moment):
            done, total = amount
        gone = done - amounts.initial
        left.append(moment * (total - done) / gone if gone > 0 and total else None)
    return left
