"""What happens to a run that people want to be told. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .facts import Facts
from .models import Run
from .run_state import RunState
from .snapshot import DatasetProgress, snapshot
from .transitions import State


class EventKind(StrEnum):
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    BACK = "back"  # to life
    FAILURES = "failures"  # another percent of the items has failed


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened to a run. ``failed_percent``: of its items, 0..100."""

    kind: EventKind
    dataset_pk: int
    run: Run
    version: int
    at: datetime
    failed_percent: int
    _state: RunState = field(repr=False, compare=False)

    def progress(self, dataset_id: str) -> DatasetProgress:
        """Return the progress of the dataset when it happened, without a query."""
        state = self._state
        head, run = state.head, state.run
        return snapshot(
            Facts(
                head.dataset_id, dataset_id, run.created_at, head.epoch, head.version, run, tuple(state.stages),
                head.retry,
            ),
            self.at,
        )  # fmt: skip


def failed_percent(state: RunState, failed: int) -> int:
    """Return how many whole percent of a run's items ``failed`` items are, 0..100."""
    items = max((stage.planned or stage.current for stage in state.stages), default=0)
    return min(100 * failed // max(items, failed, 1), 100)


def events_of(state: RunState) -> list[RunEvent]:
    """Return what the change of a run, which is about to be written, means to people."""
    run = state.run
    kinds = []
    percent = failed_percent(state, run.failed)
    if run.failed and percent > failed_percent(state, state.loaded_value("failed") or 0):
        kinds.append(EventKind.FAILURES)
    was_lost = state.loaded_value("lost_at") is not None
    if run.is_finished and not state.loaded_value("finished_at"):
        kinds.append(
            EventKind.READY if run.state == State.READY
            else EventKind.CANCELLED if run.cancelled
            else EventKind.FAILED
        )  # fmt: skip
    elif run.lost_at is not None and not was_lost:
        kinds.append(EventKind.LOST)
    elif run.lost_at is None and was_lost:
        kinds.append(EventKind.BACK)
    return [RunEvent(kind, state.head.dataset_id, run, state.head.version, state.now, percent, state) for kind in kinds]
