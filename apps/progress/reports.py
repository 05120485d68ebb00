"""Reports of pipelines: a `Report` goes in, `Accepted` or the `ProgressError` that refuses it comes out.

Counts are absolute, so a report that is repeated or late counts nothing twice. One that names no run opens one where
none is open; one that names a stage starts it; one that names a worker counts that worker's share alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from apps.core.text import clean_item_name

from . import members, store
from .errors import IllegalTransition, NoRun, ProgressError, RunFinished, UnknownRun
from .facts import Facts
from .history import learned_from
from .models import Run, Stage
from .origin import Origin
from .run_state import RunState
from .snapshot import DatasetProgress, snapshot
from .transitions import FINISHED, WORKING, StageState, State

# The highest count that a report may carry. A sum over workers may be higher.
MAX_COUNT: Final = 10**15


@dataclass(frozen=True, slots=True)
class Report:
    """One report on a dataset. Fields that are None change nothing; counts are absolute, 0..`MAX_COUNT`.

    ``label``, ``unit``: how the stage and its counts are shown. ``worker``: the counts are this worker's share.
    ``run``: the number of the run that is meant. ``leave``: the worker leaves the run that it has joined; an error says
    that it failed. ``done``: the worker will count nothing more.
    """

    state: State | None = None
    stage: str | None = None
    label: str | None = None
    unit: str | None = None
    current: int | None = None
    total: int | None = None
    message: str | None = None
    error: str | None = None
    worker: str | None = None
    failed: int | None = None
    skipped: int | None = None
    failures: Sequence[tuple[str, str]] = ()
    run: int | None = None
    leave: bool = False
    done: bool = False

    @property
    def end_state(self) -> State | None:
        """The state in which the run ends, if it does. An error needs no state."""
        if self.leave:
            return None
        if self.error is not None:
            return State.ERROR
        return self.state if self.state in FINISHED else None

    @property
    def left_error(self) -> str | None:
        """Why the worker that leaves has failed, if it has."""
        failed = self.error is not None or self.state == State.ERROR
        return (self.error or self.message or "") if failed else None

    @property
    def is_about_a_stage(self) -> bool:
        """Whether it says something of a stage."""
        return any(said is not None for said in (self.stage, self.label, self.unit, self.current, self.total))

    @property
    def counts_something(self) -> bool:
        """Whether it says something of a stage, or of items that failed or were skipped."""
        return self.is_about_a_stage or self.state in WORKING or self.failed is not None or self.skipped is not None

    @property
    def is_about_work(self) -> bool:
        """Whether it implies that work is under way, so that a run is needed."""
        return self.is_about_a_stage or self.state in WORKING | {State.PENDING}

    @property
    def may_open_first_run(self) -> bool:
        """Whether it is enough to begin the first run of a dataset."""
        return self.run is None and not self.leave and (self.is_about_work or self.end_state is not None)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run that took the report in, the dataset's version after the batch, and what the reporter is asked to do."""

    run: int
    version: int
    control: str
    _state: RunState = field(repr=False, compare=False)

    def progress(self, dataset_id: str, now: datetime) -> DatasetProgress:
        """Return the dataset's progress after the report, without a query."""
        head, run = self._state.head, self._state.run
        stages = tuple(self._state.stages)
        facts = Facts(head.dataset_id, dataset_id, run.created_at, head.epoch, head.version, run, stages, head.retry)
        return snapshot(facts, now)


def accept_reports(reports: Sequence[tuple[int, Report]], by: str = "") -> list[Accepted | ProgressError]:
    """Take in reports, each with its dataset's row id, in order and in one transaction (the caller's, if there is one).

    ``by``: who reports; a run that a report opens keeps it. Returns an outcome for each. A refused report changes
    nothing, and the others are taken in all the same.
    """
    with transaction.atomic(savepoint=False):
        batch = _ReportBatch(reports, by)
        outcomes = [batch.accept(dataset_pk, report) for dataset_pk, report in reports]
        batch.flush()
    return [
        Accepted(outcome.run.number, outcome.head.version, outcome.run.control, outcome)
        if isinstance(outcome, RunState)
        else outcome
        for outcome in outcomes
    ]


class _ReportBatch:
    """The runs that a batch of reports is about: loaded together, changed report by report, flushed together."""

    def __init__(self, reports: Sequence[tuple[int, Report]], by: str) -> None:
        self._by = by
        self._now = timezone.now()
        self._heads = store.lock_heads("dataset_id", {dataset_pk for dataset_pk, _ in reports})
        self._new_heads = {
            dataset_pk for dataset_pk, report in reports if report.may_open_first_run
        } - self._heads.keys()
        for dataset_pk in sorted(self._new_heads):
            self._heads[dataset_pk] = store.lock_or_create_head(dataset_pk)
        self._states = store.load_runs(self._heads, self._now)
        store.load_shares(self._states.values(), {report.worker for _, report in reports if report.worker})
        reporters = {report.worker or "" for _, report in reports} | {""}
        store.load_members(self._states.values(), None if any(report.leave for _, report in reports) else reporters)
        items = {clean_item_name(item) for _, report in reports for item, _ in report.failures}
        store.load_listed_failures(self._states.values(), items)

    def accept(self, dataset_pk: int, report: Report) -> RunState | ProgressError:
        """Return the run that took the report in, or why it is refused."""
        state = self._states.get(dataset_pk)
        try:
            if _opens_run(state, report):
                return self._open_run(dataset_pk, report)
            if state is None:
                raise NoRun("There is no run to report on." if report.run is None else "There is no such run.")
            apply_report(state, report)
        except ProgressError as refusal:
            return refusal
        return state

    def flush(self) -> None:
        store.flush(self._states.values())
        store.delete_unused_heads(self._new_heads - self._states.keys())

    def _open_run(self, dataset_pk: int, report: Report) -> RunState:
        last = self._states.get(dataset_pk)
        number = last.run.number + 1 if last else store.next_run_number(dataset_pk)
        learned = learned_from(store.load_ready_stages(dataset_pk)) if number > 1 else ()
        head = self._heads[dataset_pk]
        asked = head.retry, head.retry_by, head.retry_at
        state = RunState.begin(head, number, self._now, learned=learned, origin=Origin(by=self._by))
        try:
            apply_report(state, report)
        except ProgressError:
            head.retry, head.retry_by, head.retry_at = asked  # the run that would have done what was asked is refused
            raise
        if last is not None:
            # What the batch has said of the last run is written before there is another.
            store.flush([last])
        self._states[dataset_pk] = state
        return state


def _opens_run(last: RunState | None, report: Report) -> bool:
    """Whether a report opens a run: the last run is over, and the report names no run, ends none, and is about work."""
    if last is None or report.leave:
        return last is None and report.may_open_first_run
    is_over = last.run.is_finished and not last.run.lost_in
    return report.run is None and is_over and report.end_state is None and report.is_about_work


# --- The rules of a report. No SQL ------------------------------------------------------------------------------------


def apply_report(state: RunState, report: Report) -> None:
    """Take a report in, whole or not at all. Raises `ProgressError`."""
    run = state.run
    if report.run is not None and report.run != run.number:
        if report.run > run.number:
            raise UnknownRun(f"There is no run {report.run}.")
        raise RunFinished(f"Run {report.run} is over; the latest is run {run.number}.")
    if run.is_finished and not run.lost_in:
        if report.leave or report.end_state == run.state:
            return  # repeated because the first answer was lost
        raise RunFinished(f"Run {run.number} is over: {run.state}.")
    if report.state == State.PENDING and (run.state != State.PENDING or report.is_about_a_stage):
        # A report with counts cannot be pending.
        current = State.INDEXING if run.state == State.PENDING else State(run.state)
        raise IllegalTransition(current, State.PENDING)
    with state.undo_if_refused(report.worker):
        if run.lost_in:
            state.take_back_end()
        state.note_heartbeat()
        members.hear(state, report.worker)
        stage = state.active_stage()
        is_known = report.worker in state.members or state.has_share(report.worker)
        state.acknowledge(is_new=not is_known)
        if report.counts_something or not is_known:
            stage = _start_stage_of(state, report)
            if stage is not None:
                state.describe(stage, report.label, report.unit)
            _count(state, stage, report)
        if report.worker is not None and is_known:
            state.hear_worker(report.worker, leaves=report.leave or report.done)
        if report.failures:
            new = state.list_failures(stage.name if stage else "", report.failures)
            if report.failed is None:
                run.failed += new
        state.check_sums()
        _end_run(state, report)
        state.set_message(report.message)


def _start_stage_of(state: RunState, report: Report) -> Stage | None:
    """Start the stage that a report counts, unless it is active, and return it; None where it counts none."""
    if report.stage is not None:
        return _start_named_stage(state, report.stage, report)
    if report.state in WORKING:
        return _start_stage_that_counts_as(state, State(report.state))
    active = state.active_stage()
    if active is not None or not (report.is_about_a_stage or report.worker is not None):
        return active
    waiting = next((stage for stage in state.stages if stage.state == StageState.WAITING), None)
    return _start_stage_that_counts_as(state, State(waiting.counts_as) if waiting else State.INDEXING)


def _start_named_stage(state: RunState, name: str, report: Report) -> Stage:
    stage = state.stage_named(name)
    if stage is None:
        counts_as = next((State(s) for s in (report.state, name, state.run.state) if s in WORKING), State.INDEXING)
        stage = state.add_stage(name, counts_as, label="" if name in WORKING else name)
    if report.worker is not None and state.close_if_passed(stage):
        return stage  # the other workers have gone on; what this one has done still counts
    state.start_stage(stage)
    return stage


def _start_stage_that_counts_as(state: RunState, counts_as: State) -> Stage:
    """Keep the active stage if it counts as ``counts_as``; else start the next that waits and does; else a new one."""
    stages = [stage for stage in state.stages if stage.counts_as == counts_as]
    for wanted in (StageState.ACTIVE, StageState.WAITING):
        if (stage := next((stage for stage in stages if stage.state == wanted), None)) is not None:
            state.start_stage(stage)
            return stage
    if stages or state.stage_named(counts_as.value) is not None:
        # Only a name can take a run back to an earlier stage: without one, this may be a report that comes late.
        raise IllegalTransition(State(state.run.state), counts_as)
    stage = state.add_stage(counts_as.value, counts_as)
    state.start_stage(stage)
    return stage


def _count(state: RunState, stage: Stage | None, report: Report) -> None:
    if stage is not None and report.worker is not None:
        state.grow_share(
            stage, report.worker, current=report.current, total=report.total, failed=report.failed,
            skipped=report.skipped,
        )  # fmt: skip
        return
    # What is skipped first: it tells which of the items counted then are work.
    state.grow_failed_and_skipped(report.failed, report.skipped)
    if stage is not None:
        state.count_unshared(stage, report.current, report.total)


def _end_run(state: RunState, report: Report) -> None:
    if report.leave:
        members.leave(state, report.worker or "", report.left_error)
    if report.end_state is None:
        return
    if report.end_state == State.READY:
        state.finish()
    elif state.run.control == Run.Control.CANCEL:
        state.cancel()  # the reporter stopped because it was asked to
    else:
        state.fail(report.error or report.message or "")
    state.set_message("")
