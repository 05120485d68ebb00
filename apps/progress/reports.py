"""What reporters say over the wire, taken by the thousand in one transaction.

A report is absolute: saying it twice, or late, counts nothing twice. One that names no run opens one where none is
open; one that names a stage begins it; one that names a worker speaks of that worker's share alone, and the stage is
the sum of its shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import BigIntegerField
from django.utils import timezone

from .errors import IllegalTransition, LimitReached, NoRun, ProgressError, RunFinished, UnknownRun
from .facts import Facts
from .models import Run, Stage
from .services import open_run
from .snapshot import DatasetProgress, snapshot
from .store import Changes, load_shares, lock, write
from .transitions import FINISHED, WORKING, StageState, State

# What one count may be, and what a sum of them may.
MAX_COUNT: Final = 10**15
MAX_STORED_COUNT: Final = BigIntegerField.MAX_BIGINT
MAX_WORKERS: Final = 1_000_000
MAX_STAGES: Final = 64


@dataclass(frozen=True, slots=True)
class Report:
    """What a reporter says of a dataset; what is None it says nothing of. Counts are absolute, 0..`MAX_COUNT`.

    ``worker``: the counts are those of this worker's share. ``run``: the number of the run that is meant.
    """

    state: State | None = None
    stage: str | None = None
    current: int | None = None
    total: int | None = None
    message: str | None = None
    error: str | None = None
    worker: str | None = None
    failed: int | None = None
    skipped: int | None = None
    failures: Sequence[tuple[str, str]] = ()
    run: int | None = None

    @property
    def end(self) -> State | None:
        """How the run ends, if it does: an error needs no state."""
        if self.error is not None:
            return State.ERROR
        return self.state if self.state in FINISHED else None

    @property
    def begins(self) -> bool:
        """Whether it is enough to begin the first run of a dataset."""
        return self.run is None and (self.tells_of_work or self.end is not None)

    @property
    def tells_of_work(self) -> bool:
        """Whether it says that something is under way, so that there must be a run."""
        return self.state in WORKING | {State.PENDING} or self.counts

    @property
    def counts(self) -> bool:
        """Whether it says something of a stage."""
        return not (self.stage is None and self.current is None and self.total is None)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a report, and what the reporter is asked to do."""

    run: int
    version: int
    control: str
    _changes: Changes = field(repr=False, compare=False)

    def progress(self, dataset_id: str, now: datetime) -> DatasetProgress:
        """How far the dataset is after it, without a query."""
        changes = self._changes
        facts = Facts(
            changes.head.pk,
            dataset_id,
            changes.run.created_at,
            changes.head.version,
            changes.run,
            tuple(changes.stages),
        )
        return snapshot(facts, now)


def accept_reports(reports: Sequence[tuple[int, Report]]) -> list[Accepted | ProgressError]:
    """Take reports, each with its dataset's row id, in order and in one transaction.

    Returns for each what became of it; one that is refused changes nothing and sinks none of the others.
    """
    now = timezone.now()
    with transaction.atomic(savepoint=False):
        desk = _Desk(reports, now)
        answers = [desk.accept(dataset_pk, report) for dataset_pk, report in reports]
        write(desk.open.values())
    return [_taken(answer) if isinstance(answer, Changes) else answer for answer in answers]


def _taken(changes: Changes) -> Accepted:
    return Accepted(changes.run.number, changes.head.version, changes.run.control, changes)


class _Desk:
    """The runs that reports of one transaction are about."""

    def __init__(self, reports: Iterable[tuple[int, Report]], now: datetime) -> None:
        self.now = now
        self.workers = {report.worker for _, report in reports if report.worker}
        self.open: dict[int, Changes] = {}
        self._read({dataset_pk for dataset_pk, _ in reports})

    def _read(self, dataset_pks: set[int]) -> None:
        read = lock(self.now, "dataset_id", dataset_pks)
        if self.workers:
            load_shares(read.values(), self.workers)
        self.open.update(read)

    def accept(self, dataset_pk: int, report: Report) -> Changes | ProgressError:
        """The changes that took the report in, or why it is refused."""
        try:
            changes = self.open.get(dataset_pk)
            if _wants_another(changes, report):
                return self._begin(dataset_pk, report)
            if changes is None:
                raise NoRun("There is no run to report on." if report.run is None else "There is no such run.")
            _apply(changes, report)
        except ProgressError as refusal:
            return refusal
        return changes

    def _begin(self, dataset_pk: int, report: Report) -> Changes:
        if (before := self.open.pop(dataset_pk, None)) is not None:
            # What was said of the last run is written before there is another.
            write([before])
            self._read({dataset_pk})
        with transaction.atomic():
            changes = open_run(dataset_pk, self.now)
            _apply(changes, report)
        self.open[dataset_pk] = changes
        return changes


def _wants_another(changes: Changes | None, report: Report) -> bool:
    """Whether a report begins a run: it names none, none is open, and it does not merely say how the last ended."""
    if changes is None:
        return report.begins
    return report.run is None and changes.run.is_finished and report.end is None and report.tells_of_work


def _apply(changes: Changes, report: Report) -> None:
    """Take a report in, whole or not at all."""
    run = changes.run
    if report.run is not None and report.run != run.number:
        if report.run > run.number:
            raise UnknownRun(f"There is no run {report.run}.")
        raise RunFinished(f"Run {report.run} is over; the latest is run {run.number}.")
    if run.is_finished:
        if report.end == run.state:
            return  # said again, because the first answer was lost
        raise RunFinished(f"Run {run.number} is over: {run.state}.")
    if report.state == State.PENDING and (run.state != State.PENDING or report.counts):
        # What is counted is under way.
        raise IllegalTransition(max(State(run.state), State.INDEXING, key=list(State).index), State.PENDING)
    with changes.all_or_nothing(report.worker):
        changes.alive()
        if (stage := _stage(changes, report)) is not None and report.worker is not None:
            _count_share(changes, stage, report.worker, report)
        else:
            _count(changes, stage, report)
        if report.failures:
            new = changes.list_failures(stage.name if stage else "", report.failures)
            if report.failed is None:
                changes.set(failed=run.failed + new)
        _end(changes, report)
        changes.say(report.message)


def _stage(changes: Changes, report: Report) -> Stage | None:
    """The stage of which a report speaks, begun if it was not; None where it speaks of none."""
    if report.stage is not None:
        return _begin_named(changes, report.stage, report)
    if report.state in WORKING:
        return _begin_unnamed(changes, State(report.state))
    active = changes.active_stage()
    counts = (report.current, report.total, report.worker)
    if active is not None or all(count is None for count in counts):
        return active
    waiting = next((stage for stage in changes.stages if stage.state == StageState.WAITING), None)
    return _begin_unnamed(changes, State(waiting.counts_as) if waiting else State.INDEXING)


def _begin_named(changes: Changes, name: str, report: Report) -> Stage:
    stage = changes.stage_named(name)
    if stage is None:
        working = next((State(s) for s in (report.state, changes.run.state) if s in WORKING), State.INDEXING)
        stage = _add(changes, name, working, label="" if name in WORKING else name)
    if report.worker is not None and changes.has_passed(stage):
        return stage  # others have gone on already; what it has done still counts
    changes.start(stage)
    return stage


def _begin_unnamed(changes: Changes, state: State) -> Stage:
    """The stage under way if it is of this state, else the next that waits and is, else a new one."""
    of_state = [stage for stage in changes.stages if stage.counts_as == state]
    for wanted in (StageState.ACTIVE, StageState.WAITING):
        if (stage := next((stage for stage in of_state if stage.state == wanted), None)) is not None:
            changes.start(stage)
            return stage
    if of_state or changes.stage_named(state.value) is not None:
        # To go back, a reporter has to name what it goes back to: this may as well be a report that comes late.
        raise IllegalTransition(State(changes.run.state), state)
    stage = _add(changes, state.value, state)
    changes.start(stage)
    return stage


def _add(changes: Changes, name: str, counts_as: State, label: str = "") -> Stage:
    if len(changes.stages) >= MAX_STAGES:
        raise LimitReached(f"A run may have {MAX_STAGES} stages.")
    return changes.add_stage(name, counts_as, label=label)


def _count(changes: Changes, stage: Stage | None, report: Report) -> None:
    """Count what a reporter without a name has done: all that is not some worker's share."""
    if stage is not None:
        total = None if report.total is None else max(report.total, stage.shared_total)
        changes.count(stage, None if report.current is None else stage.shared + report.current, total)
    run = changes.run
    changes.set(failed=max(run.failed, report.failed or 0), skipped=max(run.skipped, report.skipped or 0))


def _count_share(changes: Changes, stage: Stage, worker: str, report: Report) -> None:
    if changes.is_new(stage, worker) and stage.workers >= MAX_WORKERS:
        raise LimitReached(f"A stage may have {MAX_WORKERS} workers.")
    grown = changes.raise_share(
        stage, worker, current=report.current, total=report.total, failed=report.failed, skipped=report.skipped
    )
    run = changes.run
    sums = {"failed": run.failed + grown["failed"], "skipped": run.skipped + grown["skipped"]}
    if max(*sums.values(), stage.current + grown["current"], stage.shared_total + grown["total"]) > MAX_STORED_COUNT:
        raise LimitReached("The shares of all workers are more than can be counted.")
    changes.set(**sums)
    changes.grow_shared(stage, grown["current"], grown["total"])


def _end(changes: Changes, report: Report) -> None:
    if report.end == State.READY:
        changes.finish()
        changes.say("")
    elif report.end == State.ERROR:
        if changes.run.control == Run.Control.CANCEL:
            changes.cancel()  # it does as it was asked
        else:
            changes.fail(report.error or report.message or "")
        changes.say("")
