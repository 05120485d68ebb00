"""What a run learns from the last ready runs of its dataset: pure functions of their stages.

The row of a stage is its history: it keeps its count, its seconds of work and its readings for as long as its run is
kept. When a run begins, those of the last `RUNS` ready runs are summed up in its own row (``Run.learned``), so that
whoever estimates needs no other query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from .models import Stage
from .readings import Reading
from .transitions import StageState

# How many of the last ready runs are learned from.
RUNS: Final = 5
# At how many even shares of the items a profile has a point.
POINTS: Final = 20


@dataclass(frozen=True, slots=True)
class LearnedStage:
    """What a stage was and took in the last ready runs.

    ``total``: its count in the last of them. ``runs``: of each, the newest first, the items of work and the seconds
    that they took. ``profile``: the share of the seconds that had gone when 1/20, 2/20, … 20/20 of the items were done,
    the mean of the runs; empty where no run had a count.
    """

    name: str
    label: str
    counts_as: str
    unit: str
    total: int
    runs: tuple[tuple[int, float], ...]
    profile: tuple[float, ...]


def learned_from(runs: Sequence[Iterable[Stage]]) -> list[dict[str, Any]]:
    """Return what there is to learn from the stages of ready runs, the newest run first, as JSON for ``Run.learned``.

    The stages are those that the last run went through, in order.
    """
    of_runs = [{stage.name: stage for stage in stages if stage.state == StageState.DONE} for stages in runs[:RUNS]]
    return [_summed_up(stage, of_runs) for stage in of_runs[0].values()] if of_runs else []


def learned_stages(learned: Iterable[Mapping[str, Any]]) -> list[LearnedStage]:
    """Return the stages that a run has learned of, in order, from its ``learned``."""
    return [
        LearnedStage(
            **{**one, "runs": tuple((items, seconds) for items, seconds in one["runs"]), "profile": (*one["profile"],)}
        )
        for one in learned
    ]


def _summed_up(last: Stage, of_runs: Sequence[Mapping[str, Stage]]) -> dict[str, Any]:
    rows = [stages[last.name] for stages in of_runs if last.name in stages]
    profiles = [profile for row in rows if (profile := profile_of(row.readings, row.worked_seconds))]
    return {
        "name": last.name, "label": last.label, "counts_as": last.counts_as, "unit": last.unit, "total": last.current,
        "runs": [[row.readings[-1][1] if row.readings else 0, round(row.worked_seconds, 3)] for row in rows],
        "profile": [round(fmean(shares), 4) for shares in zip(*profiles, strict=True)],
    }  # fmt: skip


def profile_of(readings: Sequence[Reading], seconds: float) -> list[float]:
    """Return the share of ``seconds`` that had gone when each twentieth of the items was done; empty without items."""
    if not readings or not readings[-1][1] or seconds <= 0:
        return []
    items, shares, index = readings[-1][1], list[float](), 0
    for point in range(1, POINTS + 1):
        done = items * point / POINTS
        while readings[index][1] < done:
            index += 1
        (before, fewer), (after, more) = readings[index - 1], readings[index]
        moment = before + (after - before) * (done - fewer) / (more - fewer)
        shares.append(min(moment / seconds, 1.0))
    return shares
