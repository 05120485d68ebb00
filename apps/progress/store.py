"""What is done to runs within one transaction: gathered in memory, and written with one statement a table.

A writer locks the heads of its datasets, reads their runs, changes the objects, and writes them all at once. So a
report costs three updates, and a thousand reports cost three too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

from django.db import transaction
from django.db.models import BigIntegerField, Model

from apps.core.sql import Update, rows_in, write_rows
from apps.core.text import ERROR_LENGTH, MESSAGE_LENGTH, REASON_LENGTH, item_text, text

from . import estimates
from .errors import RunFinished
from .models import Head, ItemFailure, Run, Stage, Transition, WorkerShare
from .signals import Change, progress_changed
from .transitions import StageState, State, check_move, check_stage_move

_SHARE_FIELDS: Final = ("current", "total", "failed", "skipped")


def check_counts(*counts: int | None) -> None:
    """Raise `ValueError` unless each count, where there is one, can be stored."""
    if not all(count is None or 0 <= count <= BigIntegerField.MAX_BIGINT for count in counts):
        raise ValueError(f"A count is a number from 0 to {BigIntegerField.MAX_BIGINT}.")


@dataclass
class Changes:
    """One dataset's head and a run of it, with what is being done to them."""

    head: Head
    run: Run
    now: datetime
    stages: list[Stage]
    shares: dict[tuple[str, str], WorkerShare] = field(default_factory=dict)  # those asked for, by stage and worker
    history: list[Transition] = field(default_factory=list)
    seen: bool = False  # whether watchers would see a difference
    run_fields: set[str] = field(default_factory=set)  # those that are to be written
    stage_fields: dict[str, set[str]] = field(default_factory=dict)  # and those of the stages, by name
    read_state: str = ""
    read_stages: dict[str, str] = field(default_factory=dict)  # the states that the stages had, by name
    raised_shares: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.read_state = self.run.state
        self.read_stages = {stage.name: stage.state for stage in self.stages}

    @contextmanager
    def all_or_nothing(self, worker: str | None) -> Iterator[None]:
        """Take back what was done in the block should it be refused. Of the shares it may touch those of ``worker``."""
        shares = [self.shares.get((stage.name, worker)) for stage in self.stages] if worker else []
        rows = (self, self.run, *self.stages, *(share for share in shares if share))
        before = [
            {name: copy(value) if isinstance(value, dict | list | set) else value for name, value in vars(row).items()}
            for row in rows
        ]
        try:
            yield
        except Exception:
            for row, values in zip(rows, before, strict=True):
                vars(row).update(values)
            raise

    # --- The run ------------------------------------------------------------------------------------------------------

    def set(self, **values: Any) -> None:
        """Set fields of the run; where one has another value already, watchers see it."""
        for name, value in values.items():
            if getattr(self.run, name) != value:
                setattr(self.run, name, value)
                self.run_fields.add(name)
                self.seen = True

    def set_silently(self, **values: Any) -> None:
        """Set fields of the run that watchers are not shown."""
        for name, value in values.items():
            setattr(self.run, name, value)
            self.run_fields.add(name)

    def say(self, message: str | None) -> None:
        """Set the run's message; None leaves it."""
        if message is not None:
            self.set(message=text(message, MESSAGE_LENGTH))

    def alive(self, *, progressed: bool = False) -> None:
        """Note a sign of life, which alone is no change that watchers see."""
        self.set_silently(heartbeat_at=self.now)
        if progressed:
            self.set_silently(progressed_at=self.now)

    def move(self, new: State, note: str = "") -> None:
        """Move the run's state; nothing where it is there already. Raises `IllegalTransition`."""
        old = State(self.run.state)
        if old == new:
            return
        check_move(old, new)
        self.set_silently(state=new.value)
        if old == State.PENDING:
            self.set_silently(started_at=self.now)
        if new in (State.READY, State.ERROR):
            self.set_silently(finished_at=self.now)
        self.record("", old.value, new.value, note)

    def record(self, stage: str, old: str, new: str, note: str = "") -> None:
        self.seen = True
        self.history.append(
            Transition(run=self.run, stage=stage, old=old, new=new, note=text(note, REASON_LENGTH), at=self.now)
        )

    # --- Its stages ---------------------------------------------------------------------------------------------------

    def stage_named(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def active_stage(self) -> Stage | None:
        return next((stage for stage in self.stages if stage.state == StageState.ACTIVE), None)

    def add_stage(self, name: str, counts_as: State, *, label: str = "", unit: str = "items") -> Stage:
        """A stage that nobody planned, behind all others."""
        position = self.stages[-1].position + 1 if self.stages else 0
        stage = Stage(run=self.run, position=position, name=name, label=label, counts_as=counts_as.value, unit=unit)
        self.stages.append(stage)
        self.seen = True
        return stage

    def move_stage(self, stage: Stage, new: StageState) -> None:
        """Move a stage's state; nothing where it is there already. Raises `IllegalTransition`."""
        old = StageState(stage.state)
        if old == new:
            return
        check_stage_move(old, new)
        self._set_stage(stage, state=new.value)
        if new == StageState.ACTIVE:
            self._set_stage(stage, started_at=self.now)
        else:
            self._set_stage(stage, finished_at=self.now)
        if new == StageState.DONE:
            whole = stage.total or stage.current
            self._set_stage(stage, total=whole, current=whole)
        self.record(stage.name, old.value, new.value)

    def start(self, stage: Stage) -> None:
        """Make ``stage`` the one under way; the one before it is done. Raises `IllegalTransition` where it is over."""
        if stage.state != StageState.ACTIVE:
            check_stage_move(StageState(stage.state), StageState.ACTIVE)
            if (before := self.active_stage()) is not None:
                self.move_stage(before, StageState.DONE)
            self.move_stage(stage, StageState.ACTIVE)
        self.move(State(stage.counts_as))

    def count(self, stage: Stage, current: int | None, total: int | None) -> None:
        """Set a stage's count and total; None leaves one. A total under the count grows to it."""
        before = (stage.current, stage.total)
        current = stage.current if current is None else max(current, stage.shared)
        if current > stage.current:
            self.alive(progressed=True)
        if total is None:
            total = stage.total
        if total:
            total = max(total, current)
        if (current, total) == before:
            return
        began = stage.started_at or self.now
        readings = estimates.with_reading(stage.readings, (self.now - began).total_seconds(), current)
        self._set_stage(stage, current=current, total=total, readings=readings)
        self.seen = True
        self.raise_percent()

    def raise_percent(self) -> None:
        """Set the overall percentage to what the stages say, should that be more."""
        parts = [estimates.Part(StageState(s.state), s.weight, s.current, s.total) for s in self.stages]
        self.set(percent=estimates.overall_percent(parts, self.run.percent))

    def has_passed(self, stage: Stage) -> bool:
        """Whether others have gone on from a stage, or have gone by it: then it is over, and counts as done."""
        active = self.active_stage()
        if stage.state == StageState.WAITING and active is not None and stage.position < active.position:
            self.move_stage(stage, StageState.DONE)
        return stage.state == StageState.DONE

    def stop_active_stage(self, state: StageState) -> None:
        if (stage := self.active_stage()) is not None:
            self.move_stage(stage, state)

    def _set_stage(self, stage: Stage, **values: Any) -> None:
        for name, value in values.items():
            setattr(stage, name, value)
        self.stage_fields.setdefault(stage.name, set()).update(values)

    # --- The shares of workers ----------------------------------------------------------------------------------------

    def is_new(self, stage: Stage, worker: str) -> bool:
        """Whether a worker, for whose shares `load_shares` has looked, has none of this stage yet."""
        return (stage.name, worker) not in self.shares

    def raise_share(self, stage: Stage, worker: str, **counts: int | None) -> dict[str, int]:
        """Raise the counts of a share to ``counts``, never lower one. Returns by how much each of them grew."""
        if self.is_new(stage, worker):
            self.shares[stage.name, worker] = WorkerShare(stage=stage, worker=worker)
            self._set_stage(stage, workers=stage.workers + 1)
        share = self.shares[stage.name, worker]
        grown = {}
        for name, count in counts.items():
            grown[name] = max((count or 0) - getattr(share, name), 0)
            setattr(share, name, getattr(share, name) + grown[name])
        if any(grown.values()) or share.pk is None:
            self.raised_shares.add((stage.name, worker))
        return grown

    def grow_shared(self, stage: Stage, current: int, total: int) -> None:
        """Count what shares of a stage have grown by. One that is over has been counted as done: it grows with what
        its shares make together.
        """
        if not current and not total:
            return
        self._set_stage(stage, shared=stage.shared + current, shared_total=stage.shared_total + total)
        if stage.state == StageState.ACTIVE:
            self.count(stage, stage.current + current, max(stage.total, stage.shared_total))
        else:
            whole = max(stage.total, stage.shared, stage.shared_total)
            self.count(stage, whole, whole)

    # --- Failures, ends -----------------------------------------------------------------------------------------------

    def list_failures(self, stage: str, failures: Iterable[tuple[str, str]]) -> int:
        """List items that could not be processed, each (item, reason). Returns how many were not listed before."""
        reasons = {item_text(item): reason for item, reason in failures}
        known = ItemFailure.objects.filter(run=self.run, stage=stage, item__in=reasons)
        for item in known.values_list("item", flat=True):
            del reasons[item]
        ItemFailure.objects.bulk_create(
            ItemFailure(run=self.run, stage=stage, item=item, reason=text(reason, REASON_LENGTH), at=self.now)
            for item, reason in reasons.items()
        )
        return len(reasons)

    def finish(self) -> None:
        """Ready: the stage under way is done, those that never began are skipped."""
        for stage in self.stages:
            if stage.state == StageState.ACTIVE:
                self.move_stage(stage, StageState.DONE)
            elif stage.state == StageState.WAITING:
                self.move_stage(stage, StageState.SKIPPED)
        self.set(percent=100.0)
        self._end(State.READY)

    def fail(self, error: str) -> None:
        """Error: the stage under way has failed, and its count stays as it was."""
        self.set(error=text(error, ERROR_LENGTH) or "Failed, and no reason was given.")
        self.stop_active_stage(StageState.FAILED)
        self._end(State.ERROR, note=error)

    def cancel(self, error: str = "Cancelled.", note: str = "cancelled") -> None:
        """Error, because it was asked for."""
        self.set(cancelled=True, error=error)
        self.stop_active_stage(StageState.SKIPPED)
        self._end(State.ERROR, note=note)

    def _end(self, state: State, note: str = "") -> None:
        self.move(state, note)
        self.alive()
        self.set(control=Run.Control.RUN)


def lock(now: datetime, column: Literal["dataset_id", "run_id"], ids: Collection[int]) -> dict[int, Changes]:
    """Lock the heads of datasets, or of runs, and read the datasets' latest runs with the stages, by dataset's row id.

    In order of id, so that two writers never wait for each other. The runs are read once the locks are held: what
    another writer did meanwhile is seen. Left out are datasets that never ran.
    """
    heads = {head.run_id: head for head in rows_in(Head, column, ids, order="dataset_id", lock=True) if head.run_id}
    stages: dict[int, list[Stage]] = {run_pk: [] for run_pk in heads}
    for stage in rows_in(Stage, "run_id", heads, order="run_id, position"):
        stages[stage.run_id].append(stage)
    runs = rows_in(Run, "id", heads)
    return {run.dataset_id: Changes(heads[run.pk], run, now, stages[run.pk]) for run in runs}


def load_shares(many: Iterable[Changes], workers: Collection[str]) -> None:
    """Read the shares that ``workers`` have in the stages of the runs; without them, each would count as new."""
    stages = {stage.pk: (changes, stage) for changes in many for stage in changes.stages}
    for share in WorkerShare.objects.filter(stage__in=list(stages), worker__in=workers):
        changes, stage = stages[share.stage_id]
        changes.shares[stage.name, share.worker] = share


def write(many: Iterable[Changes]) -> None:
    """Write down what was done, raise the versions of what watchers will see, and announce those once committed.

    Every row is compared with what was read. The heads are locked, so no one can have moved anything since; were the
    lock ever lost, `RunFinished` is raised, and the transaction must be rolled back.
    """
    heads, runs, stages, shares = _Rows("version"), _Rows("state"), _Rows("state"), _Rows("worker")
    # Stages that end come before those that begin: only one of a run may be under way.
    begun = _Rows("state")
    new_stages, new_shares, history, announced = [], [], [], []
    for changes in many:
        head, run = changes.head, changes.run
        if changes.seen:
            heads.add(head, {"version", "run"} if head.run_id != run.pk else {"version"}, head.version)
            head.version += 1
            head.run = run
            changes.set_silently(updated_at=changes.now)
            for row in changes.history:
                row.version = head.version
            history += changes.history
            announced.append(Change(head.pk, head.version))
        runs.add(run, changes.run_fields, changes.read_state)
        for stage in changes.stages:
            if not stage.pk:
                new_stages.append(stage)
            elif fields := changes.stage_fields.get(stage.name):
                into = begun if stage.state == StageState.ACTIVE else stages
                into.add(stage, fields, changes.read_stages[stage.name])
        for key in changes.raised_shares:
            if (share := changes.shares[key]).pk:
                shares.add(share, _SHARE_FIELDS, share.worker)
            else:
                new_shares.append(share)
    tables = (heads, runs, stages, begun, shares)
    if not write_rows(update for rows in tables for update in rows.updates()):
        raise RunFinished("Another reporter has just moved this run.")
    if new_stages:
        Stage.objects.bulk_create(new_stages)
    if new_shares:
        WorkerShare.objects.bulk_create(new_shares)
    if history:
        Transition.objects.bulk_create(history)
    if announced:
        transaction.on_commit(partial(_announce, announced))


class _Rows:
    """Rows of one table that are to be written, by the fields that have changed: a statement for each set of them."""

    def __init__(self, guard: str) -> None:
        self._guard = guard
        self._rows: dict[frozenset[str], tuple[list[Model], list[object]]] = {}

    def add(self, row: Model, fields: Iterable[str], was: object) -> None:
        if names := frozenset(fields):
            rows, before = self._rows.setdefault(names, ([], []))
            rows.append(row)
            before.append(was)

    def updates(self) -> Iterator[Update]:
        for names, (rows, before) in self._rows.items():
            yield Update(rows, names, self._guard, before)


def _announce(changes: Iterable[Change]) -> None:
    for change in changes:
        progress_changed.send_robust(Change, change=change)
