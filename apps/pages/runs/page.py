"""The page of a run as a value. A constant number of queries, and rows that are bounded however long the run was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from apps.pages import words
from apps.pages.amounts import figure
from apps.pages.components import Look, bar_of_stage, stage_label
from apps.pages.words import clock
from apps.progress.control import requested
from apps.progress.models import ItemFailure, Run, RunMember, Stage, Transition, WorkerShare
from apps.progress.snapshot import StageProgress
from apps.progress.transitions import State

from .chart import WIDTH, Chart, Curve, chart_of, curve_of, pauses_of
from .events import Event, events_of, messages_of

COMPARED: Final = 3
MAX_WORKERS: Final = 200
MAX_FAILURE_TIMES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Lane:
    """A stage on the axis of time: where its bar begins and how wide it is, on a scale of `WIDTH`."""

    stage: StageProgress
    label: str
    word: str
    look: Look
    x: float
    width: float
    lasted: str
    count: str


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker did of a stage, in words."""

    stage: str
    count: str


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker with its shares, stage by stage. ``heard_at`` is known of those who joined the run."""

    name: str
    heard_at: datetime | None
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """A run in the comparison. ``seconds`` is None where no stage began."""

    run: Run
    result: str
    seconds: float | None
    items: int
    unit: str

    @property
    def lasted(self) -> str:
        return "–" if self.seconds is None else clock(self.seconds)


@dataclass(frozen=True, slots=True)
class RunPage:
    run: Run
    result: str
    previous: int | None
    next: int | None
    chart: Chart
    lanes: tuple[Lane, ...]
    workers: tuple[Worker, ...]
    events: tuple[Event, ...]
    messages: tuple[Event, ...]
    compared: tuple[Compared, ...]


def seconds_of(run: Run, now: datetime) -> float | None:
    """Return how long a run took, or takes by now; None where it never started."""
    if run.started_at is None:
        return None
    return max(((run.finished_at or now) - run.started_at).total_seconds(), 0.0)


def result_of(run: Run) -> str:
    """Return how a run ended, or its state, in a word or two."""
    if run.state == State.ERROR:
        return "Cancelled" if run.cancelled else "Failed"
    if run.state == State.READY:
        return "Ready"
    if run.state == State.PENDING:
        return "Queued"
    if asked := words.REQUESTED.get(requested(run)):
        return asked
    return "Paused" if run.control == Run.Control.PAUSE else "Running"


def page_of(run: Run, now: datetime, *, may_steer: bool) -> RunPage:
    """Return the page of ``run`` as of ``now``. Those who may steer the dataset are told who did what, and where."""
    stages = list(Stage.objects.filter(run=run).order_by("position"))
    shown = [StageProgress.model_validate(stage) for stage in stages]
    labels = {stage.name: stage_label(stage) for stage in shown}
    others = Run.objects.filter(dataset=run.dataset_id)
    before = list(others.filter(number__lt=run.number).order_by("-number").prefetch_related("stages")[:COMPARED])
    after = others.filter(number__gt=run.number).order_by("number").values_list("number", flat=True).first()
    last_ready = (
        others.filter(number__lt=run.number, state=State.READY).order_by("-number").prefetch_related("stages").first()
    )
    return RunPage(
        run=run,
        result=result_of(run),
        previous=before[0].number if before else None,
        next=after,
        chart=_chart(run, stages, labels, last_ready, now),
        lanes=tuple(_lanes(run, shown, now)),
        workers=_workers(run, labels),
        events=tuple(events_of(run, labels, may_steer=may_steer)),
        messages=tuple(messages_of(run)),
        compared=tuple(_compared(each, now) for each in (run, *before)) if before else (),
    )


def _curves(run: Run, stages: list[Stage], labels: dict[str, str], now: datetime) -> list[Curve]:
    if run.started_at is None:
        return []
    end = seconds_of(run, now) or 0.0
    changes = Transition.objects.filter(run=run, stage="").order_by("pk").values_list("old", "new", "at")
    pauses = pauses_of(changes, run.started_at, end)
    return [
        curve_of(stage, labels.get(stage.name, stage.name), run.started_at, end, pauses)
        for stage in stages
        if stage.started_at is not None
    ]


def _chart(run: Run, stages: list[Stage], labels: dict[str, str], last_ready: Run | None, now: datetime) -> Chart:
    seconds = seconds_of(run, now) or 0.0
    origin = run.started_at
    if origin is None:
        return chart_of([], seconds)
    changes = Transition.objects.filter(run=run, stage="").order_by("pk").values_list("old", "new", "at")
    times = ItemFailure.objects.filter(run=run).values_list("at", flat=True)[:MAX_FAILURE_TIMES]
    behind = _curves(last_ready, list(last_ready.stages.all()), {}, now) if last_ready else []
    return chart_of(
        _curves(run, stages, labels, now),
        seconds,
        behind=behind,
        behind_seconds=(seconds_of(last_ready, now) or 0.0) if last_ready else 0.0,
        behind_number=last_ready.number if last_ready else None,
        pauses=pauses_of(changes, origin, seconds),
        failures=[(at - origin).total_seconds() for at in times],
    )


def _lanes(run: Run, stages: list[StageProgress], now: datetime) -> list[Lane]:
    total = seconds_of(run, now) or 0.0
    lanes = []
    for stage in stages:
        start, end = stage.started_at, stage.finished_at or run.finished_at or now
        seconds = max((end - start).total_seconds(), 0.0) if start else 0.0
        x = (start - run.started_at).total_seconds() if start and run.started_at else 0.0
        scale = WIDTH / total if total else 0.0
        bar = bar_of_stage(stage)
        lanes.append(
            Lane(
                stage=stage, label=bar.label, word=words.stage_word(stage, is_over=run.is_finished), look=bar.look,
                x=round(x * scale, 1), width=max(round(seconds * scale, 1), 2.0) if start else 0.0,
                lasted=clock(seconds) if start else "", count=words.stage_count(stage),
            )
        )  # fmt: skip
    return lanes


def _workers(run: Run, labels: dict[str, str]) -> tuple[Worker, ...]:
    """Return the workers of a run, those that were silent for longest first, as far as that is known."""
    heard = dict(RunMember.objects.filter(run=run).values_list("worker", "heard_at")) if run.joined else {}
    found: dict[str, list[Share]] = {}
    rows = WorkerShare.objects.filter(stage__run=run).select_related("stage").order_by("stage__position", "worker")
    for row in rows[:MAX_WORKERS]:
        unit = row.stage.unit
        parts = [figure(row.current, unit), f" / {figure(row.total, unit)}" if row.total else ""]
        parts.append(f", {row.failed:,} failed" if row.failed else "")
        found.setdefault(row.worker, []).append(Share(labels[row.stage.name], "".join(parts)))
    workers = [Worker(name, heard.get(name), tuple(shares)) for name, shares in found.items()]
    return tuple(sorted(workers, key=lambda worker: (worker.heard_at is None, worker.heard_at or run.created_at)))


def _compared(run: Run, now: datetime) -> Compared:
    stages = [stage for stage in run.stages.all() if stage.started_at is not None]
    last = max(stages, key=lambda stage: stage.position, default=None)
    return Compared(
        run=run,
        result=result_of(run),
        seconds=seconds_of(run, now) if stages else None,
        items=last.current if last else 0,
        unit=last.unit if last else "items",
    )
