"""The workers of a run under way, as a page lists them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from apps.progress.models import Run
from apps.progress.selectors import active_workers
from apps.progress.workers import Worker, WorkerState

from .amounts import figure, rate

MOST_WORKERS: Final = 200

_ORDER: Final = {WorkerState.SILENT: 0, WorkerState.ACTIVE: 1, WorkerState.DONE: 2}
_WORDS: Final = {WorkerState.SILENT: "Silent", WorkerState.ACTIVE: "", WorkerState.DONE: "Done"}


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker of the stage under way. ``rate`` is empty of one that is silent or done."""

    name: str
    word: str
    share: str
    rate: str
    heard_at: datetime | None


def workers_at_work(run: Run, now: datetime) -> list[WorkerLine]:
    """Return the workers of the stage under way, those that were silent for longest first. One query."""
    found = active_workers(run, limit=MOST_WORKERS, now=now)
    found.sort(key=lambda worker: (_ORDER[worker.state], worker.share.heard_at or now, worker.share.worker))
    return [_line(worker) for worker in found]


def _line(worker: Worker) -> WorkerLine:
    share, unit = worker.share, worker.share.stage.unit
    done = figure(share.current, unit)
    return WorkerLine(
        name=share.worker,
        word=_WORDS[worker.state],
        share=f"{done} / {figure(share.total, unit)}" if share.total else done,
        rate=rate(share.rate, unit) if share.rate and worker.state == WorkerState.ACTIVE else "",
        heard_at=share.heard_at,
    )
