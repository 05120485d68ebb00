"""What a simulated run is going to do. No clock and no database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from apps.progress.services import StagePlan
from apps.progress.transitions import State

MOST_STAGES: Final = 12
MOST_WORKERS: Final = 64
# Seconds that a run takes at speed 1, and between two reports.
SECONDS: Final = 30.0
TICK: Final = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """Raises `ValueError` for a number out of its bounds.

    ``stages``: 1 to `MOST_STAGES`, of ``items`` items each. ``workers``: more than one report a share each.
    ``speed``: twice as high, the run takes half the time. ``fail_at``: the percentage of the run at which it ends in
    error. ``stall``: for so many seconds, half-way, it gives signs of life and makes no progress.
    """

    stages: int = 2
    items: int = 1_000
    workers: int = 1
    speed: float = 1.0
    fail_at: float | None = None
    stall: float = 0.0

    def __post_init__(self) -> None:
        bounds: list[tuple[str, float, float, float]] = [
            ("stages", self.stages, 1, MOST_STAGES),
            ("items", self.items, 1, 10**9),
            ("workers", self.workers, 1, MOST_WORKERS),
            ("speed", self.speed, 0.01, 1_000),
            ("fail_at", self.fail_at or 0, 0, 100),
            ("stall", self.stall, 0, 86_400),
        ]
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise ValueError(f"{name} is a number from {low:g} to {high:g}.")

    @property
    def stage_plans(self) -> list[StagePlan]:
        """The stages: indexing first, embedding last, and between them some with a name of their own."""
        first = StagePlan("indexing", total=self.items, unit="samples")
        last = StagePlan("embedding", counts_as=State.EMBEDDING, total=self.items, weight=2, unit="samples")
        between = (
            StagePlan(f"step-{number}", label=f"Step {number}", total=self.items, unit="samples")
            for number in range(2, self.stages)
        )
        return [first, *between, last][: self.stages]

    def steps(self) -> Iterator[Step]:
        """Yield what is done at each tick, in order."""
        weights = [plan.weight for plan in self.stage_plans]
        before = 0.0
        for plan, weight in zip(self.stage_plans, weights, strict=True):
            share = weight / sum(weights)
            ticks = max(ceil(SECONDS * share / self.speed / TICK), 1)
            for tick in range(1, ticks + 1):
                done = tick / ticks
                yield Step(plan.name, round(self.items * done), 100 * (before + share * done))
            before += share


@dataclass(frozen=True, slots=True)
class Step:
    """How far a stage is, and the percentage of the run that is done then."""

    stage: str
    current: int
    percent: float
