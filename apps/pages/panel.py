"""The live panel of a dataset's page as a value: its facts and stages. Built again for every push."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from apps.progress.health import Health
from apps.progress.percentage import whole_of
from apps.progress.snapshot import DatasetProgress, StageProgress
from apps.progress.transitions import StageState, State

from . import words
from .amounts import BYTES, rate
from .components import Bar, bar_of_stage, is_animated, is_held

# How many of the latest rates the small chart beside the rate shows, and how many it needs.
SPARKS: Final = 24
LEAST_SPARKS: Final = 4


@dataclass(frozen=True, slots=True)
class StageRow:
    stage: StageProgress
    bar: Bar
    word: str
    count: str
    time: str

    @property
    def value_text(self) -> str:
        """The value of the stage's bar for screen readers."""
        return f"{self.word}, {self.count} {self.unit}".strip(", ")

    @property
    def unit(self) -> str:
        """The unit that stands beside the count: none where there is no count, or it has the unit already."""
        return "" if self.stage.unit in BYTES or not self.count else self.stage.unit


@dataclass(frozen=True, slots=True)
class Fact:
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class FoldedStages:
    """Stages that are told in one line, because nothing happens in them: those that are done, or are to come."""

    word: str
    labels: str


@dataclass(frozen=True, slots=True)
class Panel:
    progress: DatasetProgress
    stages: tuple[StageRow, ...]
    facts: tuple[Fact, ...]

    @property
    def lines(self) -> list[StageRow | FoldedStages]:
        """The stages as lines: those that have not started fold to one, and while the run goes on, those that are done.

        None of one stage, nor of a run that is ready: its page has them.
        """
        if len(self.stages) < 2 or self.progress.state == State.READY:
            return []
        folded = {StageState.WAITING: "Not started" if self.progress.is_finished else "To come"}
        if not self.progress.is_finished:
            folded[StageState.DONE] = "Done"
        lines: list[StageRow | FoldedStages] = []
        for state, group in groupby(self.stages, key=lambda row: row.stage.state):
            rows = list(group)
            if state in folded and (len(rows) > 1 or state == StageState.WAITING):
                lines.append(FoldedStages(folded[state], " · ".join(row.bar.label for row in rows)))
            else:
                lines += rows
        return lines

    @property
    def workers(self) -> str:
        """How many workers are at the stage under way, and how many of them are silent; empty where there are none."""
        return words.workers(self.progress)

    @property
    def failed(self) -> str:
        """How many items have failed; empty if none has."""
        return f"{self.progress.failed:,}" if self.progress.failed else ""

    @property
    def sparkline(self) -> str:
        """The path of the latest rates of the stage under way, on a scale of 100 by 20; empty where nothing moves."""
        return sparkline(self.progress.readings) if self.progress.rate else ""

    @property
    def phase(self) -> str:
        """When it changes, the page fetches its other parts again."""
        return phase(self.progress)


def sparkline(readings: Sequence[tuple[float, int]]) -> str:
    """Return the path of the last rates in the readings, on a scale of 100 by 20; empty while there are too few."""
    last = list(readings)[-SPARKS - 1 :]
    rates = [max(done - before, 0) / (end - start) for (start, before), (end, done) in pairwise(last) if end > start]
    if len(rates) < LEAST_SPARKS or not max(rates):
        return ""
    step, top = 100 / (len(rates) - 1), max(rates)
    points = [f"{round(number * step, 1)} {round(19 - 18 * value / top, 1)}" for number, value in enumerate(rates)]
    return f"M{'L'.join(points)}"


def phase(progress: DatasetProgress) -> str:
    """Return a word that changes with the run, its state and what is asked of it, but not with its counts.

    It holds the epoch, because a dataset that was deleted and created again, or restored, may have the same run.
    """
    return f"{progress.epoch}-{progress.run or 0}-{progress.state}{_asked(progress)}"


def _asked(progress: DatasetProgress) -> str:
    """Return what the reporter is asked, and whether it does so."""
    words = (progress.requested, "paused" if progress.paused else None, progress.retry and f"retry-{progress.retry}")
    return "".join(f"-{word}" for word in words if word)


def _stage_row(progress: DatasetProgress, stage: StageProgress) -> StageRow:
    seconds = progress.stage_seconds if stage.state == StageState.ACTIVE else stage.worked_seconds
    time = "" if stage.started_at is None else words.clock(seconds)
    return StageRow(
        stage=stage,
        bar=bar_of_stage(stage, animated=is_animated(progress), still=is_held(progress)),
        word=_word(progress, stage),
        count=words.stage_count(stage),
        time=time,
    )


def _word(progress: DatasetProgress, stage: StageProgress) -> str:
    """Return the state of a stage in a word: of the one under way, that of its run where nothing happens."""
    if stage.state == StageState.ACTIVE and is_held(progress):
        return "Paused"
    if stage.state == StageState.ACTIVE and progress.health == Health.LOST:
        return "No contact"
    return words.stage_word(stage, is_over=progress.is_finished)


def _facts(progress: DatasetProgress) -> list[Fact]:
    """Return what the sentence does not say of a run that is not ready."""
    if progress.run is None or progress.state == State.READY:
        return []
    facts: list[Fact] = []
    if progress.percent and len(progress.stages) > 1 and progress.state != State.PENDING:
        facts.append(Fact("Whole run", f"{whole_of(progress.percent)}%"))
    if progress.is_working and progress.rate:
        facts.append(Fact("Rate", rate(progress.rate, progress.stage.unit if progress.stage else "items")))
    if progress.is_finished and (seconds := words.run_seconds(progress) or 0) >= 1:
        facts.append(Fact("Duration", words.clock(seconds)))
    if progress.skipped:
        facts.append(Fact("Unchanged", f"{progress.skipped:,}"))
    return facts


def panel_of(progress: DatasetProgress) -> Panel:
    """Return the panel of ``progress``."""
    return Panel(
        progress=progress,
        stages=tuple(_stage_row(progress, stage) for stage in progress.stages),
        facts=tuple(_facts(progress)),
    )
