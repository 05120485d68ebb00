"""Stages of a run, as the job names them and as the API takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from . import _values as values

__all__ = ["Stage"]

# The working states. A stage with one of these names counts as that state.
STATES = ("indexing", "embedding")
MAX_STAGES = 64
# Numbers that stand alone, as in "Epoch 3/70", with the brackets around them; not those in "resnet50" and "(procs=2)".
_NUMBER = r"(?<![\w.])\d+(?:[.,/:]\d+)*%?(?!\w|[.,/:]\d)"
_NUMBERS = re.compile(rf"[(\[{{#]+{_NUMBER}[)\]}}]*|{_NUMBER}(?![)\]}}])")
_EDGES = " \t:=,;/|.-"


@dataclass(frozen=True)
class Stage:
    """A stage of a run.

    ``total``: its number of items, if known. ``weight``: its share of the whole run, relative to the other stages.
    ``counts_as``: the state that it is shown as; default: its own name if that is a state, else ``indexing``.
    ``label``: its name for people; default: ``name``. ``unit``: what is counted, in the plural.
    """

    name: str
    total: int | None = None
    weight: float = 1.0
    counts_as: Literal["indexing", "embedding"] | None = None
    label: str | None = None
    unit: str = "items"


def stage_name(name: object) -> str:
    """Convert to a stage name that the server accepts."""
    return values.name(name, 64, STATES[0])


def stage_of_description(description: str) -> str:
    """Return the stage for the description of a bar. Those that differ in nothing but numbers are one stage."""
    return stage_name(" ".join(_NUMBERS.sub(" ", description[:1000]).split()).strip(_EDGES))


def label_of_description(description: str) -> str:
    """Return a description of a bar as the label of its stage."""
    return values.text(description, 1000).strip(_EDGES)


def plan(stages: Iterable[Stage | str]) -> list[dict[str, Any]]:
    """Return the API's form of ``stages``: each name once (the first wins), at most `MAX_STAGES`."""
    bodies = [_body(stage if isinstance(stage, Stage) else Stage(stage)) for stage in stages]
    return list({body["name"]: body for body in reversed(bodies)}.values())[::-1][:MAX_STAGES]


def _body(stage: Stage) -> dict[str, Any]:
    name = stage_name(stage.name)
    is_state = name in STATES
    counts_as = stage.counts_as if stage.counts_as in STATES else name if is_state else STATES[0]
    label = ("" if is_state else name) if stage.label is None else stage.label
    return {
        "name": name,
        "total": values.count(stage.total),
        "weight": values.weight(stage.weight),
        "counts_as": counts_as,
        "label": values.name(label, 100, ""),
        "unit": values.name(stage.unit, 32, "items"),
    }
