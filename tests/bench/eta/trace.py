"""What a run reported, and when: a trace, as it lies in a JSON file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = tuple[float, str, int, int]  # seconds, stage, current, total; total 0: not known


@dataclass(frozen=True, slots=True)
class PlannedStage:
    name: str
    weight: float = 1.0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """A run: its plan, what was reported at which second, when it was paused, when it ended, which runs came before."""

    name: str
    stages: tuple[PlannedStage, ...]
    events: tuple[Event, ...]
    end: float
    paused: tuple[tuple[float, float], ...] = ()
    earlier: tuple[str, ...] = ()
    kind: str = field(default="", compare=False)

    def is_paused_at(self, seconds: float) -> bool:
        return any(since <= seconds < until for since, until in self.paused)

    def left_at(self, seconds: float) -> float:
        """Return the true time left, in seconds. Pauses that are to come are no part of it."""
        pauses = sum(max(until - max(since, seconds), 0.0) for since, until in self.paused)
        return self.end - seconds - pauses

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "stages": [{"name": one.name, "weight": one.weight, "total": one.total} for one in self.stages],
            "events": [list(event) for event in self.events],
            "paused": [list(pause) for pause in self.paused],
            "end": self.end,
            "earlier": list(self.earlier),
        }


def trace_of(said: dict[str, Any]) -> Trace:
    """Return the trace in a decoded JSON file. Raises `KeyError`, `TypeError` and `ValueError` for what is none."""
    name = str(said["name"])
    return Trace(
        name=name,
        stages=tuple(
            PlannedStage(str(one["name"]), float(one.get("weight") or 1.0), int(one.get("total") or 0))
            for one in said["stages"]
        ),
        events=tuple(
            sorted(
                ((float(t), str(stage), int(current), int(total or 0)) for t, stage, current, total in said["events"]),
                key=lambda event: event[0],
            )
        ),
        end=float(said["end"]),
        paused=tuple((float(since), float(until)) for since, until in said.get("paused") or ()),
        earlier=tuple(map(str, said.get("earlier") or ())),
        kind=kind_of(name),
    )


def kind_of(name: str) -> str:
    """Return the kind of work that the name of a trace begins with: `hashing` of `hashing-1` and `hashing-again`."""
    return re.sub(r"(-again|-[\d.]+)+$", "", name)


def traces_in(folder: Path) -> list[Trace]:
    """Return the traces in a folder's JSON files. Stops the program at a file that is none."""
    traces = []
    for path in sorted(folder.glob("*.json")):
        try:
            traces.append(trace_of(json.loads(path.read_text())))
        except (KeyError, TypeError, ValueError) as error:
            sys.exit(f"{path} is no trace: {error!r}")
    return traces


def thinned(events: Iterable[Event], most: int = 400) -> tuple[Event, ...]:
    """Return at most about ``most`` of the events, evenly in time, with the first and the last of each stage."""
    events = list(events)
    if len(events) <= most:
        return tuple(events)
    step = (events[-1][0] - events[0][0]) / most
    kept: list[Event] = []
    for index, event in enumerate(events):
        neighbours = {one[1] for one in events[max(index - 1, 0) : index + 2]}
        is_edge = index in (0, len(events) - 1) or len(neighbours) > 1
        if is_edge or event[0] - kept[-1][0] >= step:
            kept.append(event)
    return tuple(kept)
