"""The percentage of a run that is done, and the whole percent that is shown of anything: pure functions.

A run has a percentage where its plan is known: its reporter gave the stages beforehand, or they are learned from the
dataset's last ready run whose first stages have the same names. The percentage is the sum over the stages of ``weight *
current / total`` as a share of the sum of the weights. A stage that is done or skipped counts in full, and one whose
total is not known for nothing. A stage that turns up beside the plan takes its share from what is left: the percentage
stands at that moment, and goes on to 100 over the stages that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Literal, Protocol, TypedDict

from .transitions import StageState

# The highest percentage of a run that is not ready.
UNFINISHED_MOST: Final = 99.99
# The least weight of a stage that took no time in the run before.
LEAST_WEIGHT: Final = 0.001

_OVER: Final = frozenset({StageState.DONE, StageState.FAILED, StageState.SKIPPED})


@dataclass(frozen=True, slots=True)
class Part:
    """A stage as the overall percentage needs it."""

    state: StageState
    weight: float
    current: int
    total: int


class Expected(TypedDict):
    """A stage of a plan that was learned. ``weight``: the seconds that it took. ``total``: how many it counted."""

    name: str
    label: str
    counts_as: Literal["indexing", "embedding"]
    unit: str
    weight: float
    total: int


class StageRow(Protocol):
    """What the percentage needs of a row of `models.Stage`."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def current(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def is_planned(self) -> bool: ...


def whole(current: int, total: int) -> int:
    """Return ``current`` of ``total`` as the whole percent that is shown: half up, but 100 only where all is done and 0
    only where nothing is. A total of 0 or less counts as 1, and ``current`` is kept within 0 and the total.
    """
    total = max(total, 1)
    current = min(max(current, 0), total)
    if current in (0, total):
        return 100 if current else 0
    return min(max((200 * current + total) // (2 * total), 1), 99)


def whole_of(percent: float) -> int:
    """Return the whole percent that is shown of a percentage, by the rule of `whole`."""
    return whole(round(percent * 1_000_000), 100_000_000)


def parts_of(stages: Sequence[StageRow], learned: Sequence[Expected]) -> list[Part] | None:
    """Return what the percentage is computed from, in the order of the stages. None where the plan is not known.

    That is also where every stage that the reporter planned is over and another one goes on: nobody knows how many more
    will come.
    """
    planned = [stage for stage in stages if stage.is_planned]
    if planned:
        if len(planned) < len(stages) and all(StageState(stage.state) in _OVER for stage in planned):
            return None
        return [_part(stage, stage.weight) for stage in stages]
    return _learned_parts(stages, learned) if learned else None


def waiting_of(stages: Sequence[StageRow], learned: Sequence[Expected]) -> list[Expected]:
    """Return the stages of a learned plan that are still to come, in order: those behind the last one that began."""
    begun = {stage.name for stage in stages}
    last = max((place for place, each in enumerate(learned) if each["name"] in begun), default=-1)
    return [*learned[last + 1 :]]


def _learned_parts(stages: Sequence[StageRow], learned: Sequence[Expected]) -> list[Part]:
    expected = {each["name"]: each for each in learned}
    usual = fmean(each["weight"] for each in learned)  # of a stage that the run before did not have
    parts = []
    for stage in stages:
        known = expected.get(stage.name)
        parts.append(_part(stage, known["weight"] if known else usual, known["total"] if known else 0))
    waiting = waiting_of(stages, learned)
    return parts + [Part(StageState.WAITING, each["weight"], 0, each["total"]) for each in waiting]


def _part(stage: StageRow, weight: float, expected: int = 0) -> Part:
    return Part(StageState(stage.state), weight, stage.current, stage.total or expected)


def share_done(parts: Sequence[Part]) -> float:
    """Return the percentage of the parts that is done by weight, 0..100. Without parts: 0.

    A part that is done or skipped counts in full, one whose total is not known for nothing.
    """
    weight = sum(part.weight for part in parts)
    if not weight:
        return 0.0
    done = 0.0
    for part in parts:
        if part.state in (StageState.DONE, StageState.SKIPPED):
            done += part.weight
        elif part.total:
            done += part.weight * min(part.current / part.total, 1.0)
    return min(100.0 * done / weight, 100.0)


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where the percentage stood when the plan last changed: ``share`` of the new plan was done, ``percent`` shown."""

    percent: float = 0.0
    share: float = 0.0


def overall_percent(parts: Sequence[Part], floor: float, anchor: Anchor = Anchor()) -> float:
    """Return the percentage of an unfinished run: what was left at ``anchor`` is filled in proportion.

    Never below ``floor``, which is the last one, and never above `UNFINISHED_MOST`.
    """
    share = share_done(parts)
    if anchor.share < 100.0:
        share = anchor.percent + (100.0 - anchor.percent) * (share - anchor.share) / (100.0 - anchor.share)
    return min(max(share, floor), UNFINISHED_MOST)
