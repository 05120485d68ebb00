"""What the earlier runs of a dataset teach of the one that has begun: the stages that it is going to have."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Final

from .models import Run, Stage
from .percentage import LEAST_WEIGHT, Expected
from .run_state import RunState
from .transitions import StageState, State

# How many ready runs are looked at, the latest first.
RUNS: Final = 10


def learned_plan(state: RunState) -> list[Expected] | None:
    """Return the stages of the dataset's last ready run whose first stages have the names of those that have begun.

    None where no run of the last `RUNS` has, and where the reporter gave the stages. One query, and none for the first
    run of a dataset.
    """
    if state.run.number == 1 or any(stage.is_planned for stage in state.stages):
        return None
    begun = [stage.name for stage in sorted(state.stages, key=_began) if stage.started_at]
    ready = Run.objects.filter(dataset=state.run.dataset_id, state=State.READY).order_by("-number")
    stages = Stage.objects.filter(run__in=ready.values("pk")[:RUNS], state=StageState.DONE, started_at__isnull=False)
    for _, of_run in groupby(stages.order_by("-run_id", "position"), attrgetter("run_id")):
        earlier = sorted(of_run, key=_began)
        if [stage.name for stage in earlier[: len(begun)]] == begun:
            return [_expected(stage) for stage in earlier]
    return None


def _began(stage: Stage) -> tuple[bool, float, int]:
    return stage.started_at is None, stage.started_at.timestamp() if stage.started_at else 0.0, stage.position


def _expected(stage: Stage) -> Expected:
    return Expected(
        name=stage.name,
        label=stage.label,
        counts_as="embedding" if stage.counts_as == State.EMBEDDING else "indexing",
        unit=stage.unit,
        weight=max(round(stage.worked_seconds, 3), LEAST_WEIGHT),
        total=stage.current,
    )
