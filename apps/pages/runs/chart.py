"""The throughput of a run over time, as the figures of an SVG: pure functions.

A stage keeps readings (seconds of work, items done). They are put on the clock of the run by adding its pauses. Stages
count different things, so each has a scale of its own, from 0 to its highest rate; the run that is drawn in grey behind
it shares the scale of the stage with the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from apps.pages.amounts import rate
from apps.pages.components import LOOKS
from apps.pages.words import clock
from apps.progress.models import Run, Stage
from apps.progress.transitions import State

WIDTH: Final = 1000
HEIGHT: Final = 120
# How many bins the time of a run is cut into: a curve has at most so many points, and as many marks of failures.
BINS: Final = 200

# A gap of more than so many seconds that are no work is drawn as rest.
REST: Final = 1.0

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """The rates of one stage: ``points`` are (seconds since the run began, items per second), in order."""

    name: str
    label: str
    unit: str
    text_class: str
    start: float
    end: float
    items: int
    points: tuple[tuple[float, float], ...]

    @property
    def peak(self) -> float:
        return max((value for _, value in self.points), default=0.0)

    @property
    def mean(self) -> float:
        worked = sum(after[0] - before[0] for before, after in pairwise(self.points)) or self.end - self.start
        return self.items / worked if worked > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Area:
    """A curve as it is drawn, on a scale of `WIDTH` by `HEIGHT`: two paths, and where its stage lies."""

    curve: Curve
    line: str
    area: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class TableRow:
    """What the chart says of a stage, in words."""

    label: str
    began: str
    lasted: str
    items: int
    unit: str
    mean: str
    peak: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, ready for its template. ``pauses`` and ``failures`` are places on its axis; a pause has a width."""

    areas: tuple[Area, ...]
    behind: tuple[Area, ...]
    pauses: tuple[tuple[float, float], ...]
    failures: tuple[float, ...]
    seconds: float
    behind_number: int | None

    @property
    def is_empty(self) -> bool:
        return not any(area.curve.points for area in self.areas)

    @property
    def length(self) -> str:
        return clock(self.seconds)

    @property
    def summary(self) -> str:
        """The chart in one sentence."""
        parts = [
            f"{area.curve.label}: {rate(area.curve.mean, area.curve.unit)} on average, at most "
            f"{rate(area.curve.peak, area.curve.unit)}"
            for area in self.areas
            if area.curve.points
        ]
        return f"Throughput over {self.length}. {'; '.join(parts)}."

    @property
    def table(self) -> list[TableRow]:
        return [
            TableRow(
                label=curve.label, began=clock(curve.start), lasted=clock(curve.end - curve.start), items=curve.items,
                unit=curve.unit, mean=rate(curve.mean, curve.unit), peak=rate(curve.peak, curve.unit),
            )
            for curve in (area.curve for area in self.areas)
        ]  # fmt: skip


def pauses_of(changes: Iterable[tuple[str, str, datetime]], origin: datetime, end: float) -> list[Interval]:
    """Return when a run was paused, in seconds since ``origin``. ``changes``: (old, new, at) of the run, in order."""
    found: list[Interval] = []
    began: float | None = None
    for old, new, at in changes:
        seconds = min(max((at - origin).total_seconds(), 0.0), end)
        if new == Run.Control.PAUSE and began is None:
            began = seconds
        elif old == Run.Control.PAUSE and began is not None:
            found.append((began, seconds))
            began = None
    if began is not None:
        found.append((began, end))
    return found


def _on_the_clock(start: float, worked: float, pauses: Sequence[Interval]) -> float:
    """Return when ``worked`` seconds of work were done that began at ``start``, if it rested in the pauses."""
    now = start
    for began, ended in pauses:
        if ended <= now:
            continue
        rest = max(began - now, 0.0)
        if worked <= rest:
            break
        worked -= rest
        now = ended
    return now + worked


def curve_of(stage: Stage, label: str, origin: datetime, end: float, pauses: Sequence[Interval]) -> Curve:
    """Return the rates of a stage that has begun. ``end``: when the run ended, or now, in seconds since ``origin``."""
    start = (stage.started_at - origin).total_seconds() if stage.started_at else end
    stop = (stage.finished_at - origin).total_seconds() if stage.finished_at else end
    points: list[tuple[float, float]] = []
    for (before, done_before), (after, done) in pairwise(stage.readings):
        if after <= before:
            continue
        began, moment = (min(_on_the_clock(start, seconds, pauses), stop) for seconds in (before, after))
        value = max(done - done_before, 0) / (after - before)
        if not points:
            points.append((began, value))
        elif moment - began > after - before + REST:
            points += (began, 0.0), (moment - (after - before), 0.0)  # a pause in between
        points.append((moment, value))
    return Curve(
        name=stage.name, label=label, unit=stage.unit, text_class=LOOKS[State(stage.counts_as)].text, start=start,
        end=max(stop, start), items=stage.current, points=tuple(points),
    )  # fmt: skip


def _draw(curve: Curve, seconds: float, peak: float) -> Area:
    def x(moment: float) -> float:
        return round(WIDTH * moment / seconds, 1) if seconds else 0.0

    def y(value: float) -> float:
        return round(HEIGHT * (1 - 0.9 * value / peak), 1) if peak else float(HEIGHT)

    points = [f"{x(moment)} {y(value)}" for moment, value in curve.points]
    line = f"M{'L'.join(points)}" if points else ""
    area = f"{line}L{x(curve.points[-1][0])} {HEIGHT}L{x(curve.points[0][0])} {HEIGHT}Z" if points else ""
    return Area(curve, line, area, x(curve.start), max(x(curve.end) - x(curve.start), 1.0))


def chart_of(
    curves: Sequence[Curve],
    seconds: float,
    *,
    behind: Sequence[Curve] = (),
    behind_seconds: float = 0.0,
    behind_number: int | None = None,
    pauses: Sequence[Interval] = (),
    failures: Iterable[float] = (),
) -> Chart:
    """Return the chart of a run that took ``seconds``. ``behind``: the curves of the run that is drawn behind it."""
    longest = max(seconds, behind_seconds, 0.001)
    peaks: dict[str, float] = {}
    for curve in (*curves, *behind):
        peaks[curve.name] = max(peaks.get(curve.name, 0.0), curve.peak)
    scale = WIDTH / longest
    bins = sorted({min(max(int(BINS * moment / longest), 0), BINS - 1) for moment in failures})
    return Chart(
        areas=tuple(_draw(curve, longest, peaks[curve.name]) for curve in curves),
        behind=tuple(_draw(curve, longest, peaks[curve.name]) for curve in behind),
        pauses=tuple((round(began * scale, 1), max(round((ended - began) * scale, 1), 1.0)) for began, ended in pauses),
        failures=tuple((number + 0.5) * WIDTH / BINS for number in bins),
        seconds=longest,
        behind_number=behind_number if behind else None,
    )
