"""Traces that are generated: each kind of run with fixed seeds, alone and after earlier runs of the same dataset.

What makes a dataset (how many items, how long each takes, when a phase begins) is drawn once for it; what differs from
run to run (the speed of the day, chance) for each run. ``HELD_OUT`` draws other datasets from wider ranges.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from .trace import Event, PlannedStage, Trace, kind_of, thinned

Durations = list[float]


class Draw:
    """Random numbers of one dataset (``of_dataset``) and of one of its runs (``of_run``)."""

    def __init__(self, kind: str, number: int, run: int, *, held_out: bool) -> None:
        seed = f"{'held out' if held_out else 'repo'} {kind} {number}"
        self.of_dataset = random.Random(seed)
        self.of_run = random.Random(f"{seed} {run}")
        self.wide = 1.6 if held_out else 1.0

    def between(self, low: float, high: float) -> float:
        """Return a number of the dataset, evenly spread in its logarithm. Held out, the range is wider."""
        middle, half = (low * high) ** 0.5, (high / low) ** 0.5
        return float(middle * (half**self.wide) ** self.of_dataset.uniform(-1, 1))

    def day(self, spread: float = 0.15) -> float:
        """Return by how much everything takes longer in this run."""
        return self.of_run.lognormvariate(0, spread * self.wide)

    def size(self) -> tuple[int, float]:
        """Return how many items this run has, which differs between some runs, and the seconds that it takes."""
        share = 1 if self.of_run.random() < 0.5 else self.of_run.uniform(0.7, 1.3)
        count, seconds = self.between(200, 20_000), self.between(30, 7200)
        return max(int(count * share), 20), seconds * share * self.day()


def _steady(draw: Draw, count: int) -> Durations:
    spread = draw.between(0.1, 1.0)
    return [draw.of_run.lognormvariate(0, spread) for _ in range(count)]


def _slowing(draw: Draw, count: int) -> Durations:
    more, power = draw.between(0.7, 6), draw.of_dataset.choice([1, 1, 2])
    return [d * (1 + more * (i / count) ** power) for i, d in enumerate(_steady(draw, count))]


def _bursty(draw: Draw, count: int) -> Durations:
    fast, length = draw.between(4, 20), draw.between(0.01, 0.08) * count
    durations: Durations = []
    while len(durations) < count:
        slow = 1.0 if draw.of_run.random() < 0.5 else fast
        durations += [slow] * max(int(draw.of_run.expovariate(1 / length)), 1)
    return [d * draw.of_run.lognormvariate(0, 0.2) for d in durations[:count]]


def _two_phase(draw: Draw, count: int) -> Durations:
    at = draw.of_dataset.uniform(0.15, 0.75)
    ratio = draw.between(2, 8) ** draw.of_dataset.choice([-1, 1])
    return [d * (1 if i < at * count else ratio) for i, d in enumerate(_steady(draw, count))]


def _heavy_tailed(draw: Draw, count: int) -> Durations:
    shape = draw.of_dataset.uniform(1.15, 2.0)
    # The large items are those of the dataset, so they are where they were in an earlier run.
    sizes = random.Random(draw.of_dataset.random())
    return [sizes.paretovariate(shape) * draw.of_run.lognormvariate(0, 0.1) for _ in range(count)]


SINGLE: dict[str, Callable[[Draw, int], Durations]] = {
    "steady": _steady, "slowing": _slowing, "bursty": _bursty, "two-phase": _two_phase, "heavy-tailed": _heavy_tailed,
}  # fmt: skip


def _times(durations: Sequence[float], seconds: float) -> list[float]:
    """Return when each item is done, if all take ``seconds``."""
    times = list(accumulate(durations))
    return [time * seconds / times[-1] for time in times]


def _one_stage(draw: Draw, kind: str) -> tuple[int, list[float]]:
    count, seconds = draw.size()
    return count, _times(SINGLE[kind](draw, count), seconds)


def _events(
    times: Sequence[float], total: int, *, chunk: int = 1, offset: int = 0, stage: str = "work", start: float = 0.0
) -> list[Event]:
    """Return the reports of a stage that begins at ``start``: its first, and one for each chunk."""
    events: list[Event] = [(start, stage, offset, total)]
    for done, time in enumerate(times, 1):
        if done % chunk == 0 or done == len(times):
            events.append((start + time, stage, offset + done, total))
    return events


def _trace(
    name: str, events: Sequence[Event], stages: Sequence[PlannedStage] = (), paused: Sequence[tuple[float, float]] = ()
) -> Trace:
    """Return the trace of a run that ends with its last event. By default, its one stage is planned as it began."""
    return Trace(
        name=name,
        stages=tuple(stages) or (PlannedStage("work", total=events[0][3]),),
        events=tuple((round(time, 3), stage, current, total) for time, stage, current, total in thinned(events)),
        end=round(events[-1][0], 3),
        paused=tuple(paused),
        kind=kind_of(name),
    )


def _plain(draw: Draw, name: str, kind: str) -> Trace:
    count, times = _one_stage(draw, kind)
    chunk = draw.of_dataset.choice([1, 1, 32, 64]) if count > 2000 else 1
    return _trace(name, _events(times, count, chunk=chunk))


def _paused(draw: Draw, name: str, _: str) -> Trace:
    count, times = _one_stage(draw, draw.of_dataset.choice(["steady", "steady", "slowing"]))
    end = times[-1]
    pauses, shift = [], 0.0
    starts = sorted(draw.of_run.uniform(0.1, 0.85) * end for _ in range(draw.of_run.randint(1, 3)))
    for start in starts:
        length = draw.of_run.uniform(0.1, 1.0) * end
        pauses.append((round(start + shift, 3), round(start + shift + length, 3)))
        shift += length

    def late(time: float) -> float:
        return time + sum(until - since for (since, until), start in zip(pauses, starts, strict=True) if time > start)

    return _trace(name, _events([late(time) for time in times], count), paused=pauses)


def _resumed(draw: Draw, name: str, _: str) -> Trace:
    count, times = _one_stage(draw, draw.of_dataset.choice(["steady", "bursty"]))
    offset = int(count * draw.of_run.uniform(0.3, 4))
    return _trace(name, _events(times, count + offset, offset=offset))


def _growing(draw: Draw, name: str, _: str) -> Trace:
    count, times = _one_stage(draw, "steady")
    known, until = draw.of_dataset.uniform(0.05, 0.5), draw.of_dataset.uniform(0.2, 0.7)
    events = [
        (time, stage, current, max(int(count * min(known + (1 - known) * time / (until * times[-1]), 1)), current))
        for time, stage, current, _ in _events(times, count)
    ]
    return _trace(name, events, stages=[PlannedStage("work")])


def _workers(draw: Draw, name: str, _: str) -> Trace:
    """Eight workers with a share each. Some are slow, one joins late, and the slowest is alone at the end."""
    count, seconds = draw.size()
    count = max(count // 8, 20) * 8
    done: list[float] = []
    for worker in range(8):
        slow = draw.of_run.lognormvariate(0, 0.15) * (draw.between(1.1, 1.8) if worker == 0 else 1)
        late = draw.of_run.uniform(0, 0.2) * seconds if draw.of_run.random() < 0.2 else 0.0
        spread = draw.between(0.2, 1.0)
        times = _times([draw.of_run.lognormvariate(0, spread) for _ in range(count // 8)], seconds * slow)
        done += [late + time for time in times]
    return _trace(name, _events(sorted(done), count))


def _stages(draw: Draw, name: str, _: str) -> Trace:
    """Three stages of very different speed, whose planned weights are a guess."""
    count, seconds = draw.size()
    shares = [draw.between(0.05, 0.3), draw.between(0.3, 1), draw.between(0.5, 3)]
    names, events, start = ("scan", "index", "embed"), list[Event](), 0.0
    for stage, share in zip(names, shares, strict=True):
        kind = draw.of_dataset.choice(["steady", "slowing", "bursty"])
        times = _times(SINGLE[kind](draw, count), seconds * share)
        events += _events(times, count, stage=stage, start=start)
        start = events[-1][0]
    weights = [round(share * draw.of_dataset.lognormvariate(0, 0.6), 2) for share in shares]
    planned = [PlannedStage(stage, max(weight, 0.01), count) for stage, weight in zip(names, weights, strict=True)]
    return _trace(name, events, stages=planned)


KINDS: dict[str, Callable[[Draw, str, str], Trace]] = {
    **dict.fromkeys(SINGLE, _plain),
    "paused": _paused, "resumed": _resumed, "growing": _growing, "workers": _workers, "stages": _stages,
}  # fmt: skip


def generated(*, held_out: bool = False, datasets: int = 4) -> Iterator[Trace]:
    """Yield the traces: of each kind ``datasets`` without earlier runs, and as many with one to five of them."""
    for kind, make in KINDS.items():
        for number in range(datasets):
            yield make(Draw(kind, number, 0, held_out=held_out), f"{kind}-{number}", kind)
            earlier = [f"{kind}-{number}"]
            for run in range(1, 1 + number % 5):
                earlier.append(f"{kind}-{number}.{run}")
                yield make(Draw(kind, number, run, held_out=held_out), earlier[-1], kind)
            last = make(Draw(kind, number, 9, held_out=held_out), f"{kind}-{number}-again", kind)
            yield replace(last, earlier=tuple(earlier))
