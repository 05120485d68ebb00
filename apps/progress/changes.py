"""What is done to runs within one transaction: gathered in memory, and written with one statement a table.

A writer locks the heads of its datasets, reads their runs, changes the objects, and writes them all at once. So a
report costs three updates, and a thousand reports cost three too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import BigIntegerField, Model

from . import estimates
from .errors import RunFinished
from .models import Head, ItemFailure, Run, Share, Stage, Transition
from .signals import Change, progress_changed
from .texts import ERROR_LENGTH, MESSAGE_LENGTH, REASON_LENGTH, item_text, text
from .transitions import StageState, State, check_move, check_stage_move

_RUN_FIELDS: Final = (
    "state", "control", "cancelled", "message", "error", "percent", "failed", "skipped", "started_at", "finished_at",
    "updated_at", "heartbeat_at", "progressed_at",
)  # fmt: skip
_STAGE_FIELDS: Final = (
    "state", "current", "total", "shared", "shared_total", "started_at", "finished_at", "readings",
)  # fmt: skip
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
    shares: dict[tuple[str, str], Share] = field(default_factory=dict)  # those asked for, by stage and worker
    history: list[Transition] = field(default_factory=list)
    seen: bool = False  # whether watchers would see a difference
    touched: bool = False  # whether anything of the run itself is to be written
    read_state: str = ""
    read_stages: dict[str, str] = field(default_factory=dict)  # the states of those that are to be written, by name
    raised_shares: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.read_state = self.run.state

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take back what was done in the block should it be refused."""
        rows = (self, self.run, *self.stages, *self.shares.values())
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
                self.touched = self.seen = True

    def set_silently(self, **values: Any) -> None:
        """Set fields of the run that watchers are not shown."""
        for name, value in values.items():
            setattr(self.run, name, value)
        self.touched = True

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
        self.run.state = new.value
        if old == State.PENDING:
            self.run.started_at = self.now
        if new in (State.READY, State.ERROR):
            self.run.finished_at = self.now
        self.touched = True
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
        self._touch(stage)
        stage.state = new.value
        if new == StageState.ACTIVE:
            stage.started_at = self.now
        else:
            stage.finished_at = self.now
        if new == StageState.DONE:
            stage.total = stage.current = stage.total or stage.current
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
        self._touch(stage)
        stage.current, stage.total = current, total
        began = stage.started_at or self.now
        stage.readings = estimates.with_reading(stage.readings, (self.now - began).total_seconds(), current)
        self.seen = True
        self.raise_percent()

    def raise_percent(self) -> None:
        """Set the overall percentage to what the stages say, should that be more."""
        parts = [estimates.Part(StageState(s.state), s.weight, s.current, s.total) for s in self.stages]
        self.set(percent=estimates.overall_percent(parts, self.run.percent))

    def stop_active_stage(self, state: StageState) -> None:
        if (stage := self.active_stage()) is not None:
            self.move_stage(stage, state)

    def _touch(self, stage: Stage) -> None:
        self.read_stages.setdefault(stage.name, stage.state)

    # --- The shares of workers ----------------------------------------------------------------------------------------

    def share_of(self, stage: Stage, worker: str) -> Share:
        """The share of a worker, which `load_shares` has looked for; a new one where there is none."""
        return self.shares.setdefault((stage.name, worker), Share(stage=stage, worker=worker))

    def raise_share(self, stage: Stage, worker: str, **counts: int | None) -> dict[str, int]:
        """Raise the counts of a share to ``counts``, never lower one. Returns by how much each of them grew."""
        share = self.share_of(stage, worker)
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
        self._touch(stage)
        stage.shared += current
        stage.shared_total += total
        if stage.state == StageState.ACTIVE:
            self.count(stage, stage.current + current, max(stage.total, stage.shared_total))
        else:
            whole = max(stage.total, stage.shared)
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


def lock(now: datetime, **heads: Any) -> dict[int, Changes]:
    """Lock the heads that a filter finds, and read their datasets' latest runs with the stages, by dataset's row id.

    In order of id, so that two writers never wait for each other. The runs are read once the locks are held: what
    another writer did meanwhile is seen. Left out are datasets that never ran.
    """
    locked = list(Head.objects.select_for_update().filter(**heads).order_by("pk"))
    runs = Run.objects.in_bulk([head.run_id for head in locked if head.run_id])
    stages: dict[int, list[Stage]] = {run_pk: [] for run_pk in runs}
    for stage in Stage.objects.filter(run__in=list(runs)).order_by("run", "position"):
        stages[stage.run_id].append(stage)
    return {head.pk: Changes(head, runs[head.run_id], now, stages[head.run_id]) for head in locked if head.run_id}


def load_shares(many: Iterable[Changes], workers: Iterable[str]) -> None:
    """Read the shares that ``workers`` have in the stages of the runs; without them, each would count as new."""
    stages = {stage.pk: (changes, stage) for changes in many for stage in changes.stages}
    for share in Share.objects.filter(stage__in=list(stages), worker__in=list(workers)):
        changes, stage = stages[share.stage_id]
        changes.shares[stage.name, share.worker] = share


def write(many: Sequence[Changes]) -> None:
    """Write down what was done, raise the versions of what watchers will see, and announce those once committed.

    Every row is compared with what was read. The heads are locked, so no one can have moved anything since; were the
    lock ever lost, `RunFinished` is raised, and the transaction must be rolled back.
    """
    seen = [changes for changes in many if changes.seen]
    for changes in seen:
        changes.head.version += 1
        changes.head.run = changes.run
        changes.run.updated_at = changes.now
        for row in changes.history:
            row.version = changes.head.version
    _update([c.head for c in seen], ("version", "run"), "version", [c.head.version - 1 for c in seen])
    runs = [c for c in many if c.touched or c.seen]
    _update([c.run for c in runs], _RUN_FIELDS, "state", [c.read_state for c in runs])
    # Stages that end come before those that begin: only one of a run may be under way.
    stages = sorted(
        ((stage, c.read_stages[stage.name]) for c in many for stage in c.stages if stage.name in c.read_stages),
        key=lambda pair: pair[0].state == StageState.ACTIVE,
    )
    known = [(stage, state) for stage, state in stages if stage.pk]
    _update([stage for stage, _ in known], _STAGE_FIELDS, "state", [state for _, state in known])
    Stage.objects.bulk_create([stage for changes in many for stage in changes.stages if not stage.pk])
    shares = [changes.shares[key] for changes in many for key in changes.raised_shares]
    old = [share for share in shares if share.pk]
    Share.objects.bulk_create([share for share in shares if not share.pk])
    _update(old, _SHARE_FIELDS, "worker", [share.worker for share in old])
    Transition.objects.bulk_create([row for changes in many for row in changes.history])
    for changes in seen:
        transaction.on_commit(
            partial(progress_changed.send_robust, Change, change=Change(changes.head.pk, changes.head.version))
        )


def _update(rows: Sequence[Model], names: Sequence[str], guard: str, was: Sequence[object]) -> None:
    """Write fields of rows where the field ``guard`` is still what it ``was``, with one statement for all of them.

    Written by hand because `bulk_update` builds a CASE of all rows for each field: a hundred times slower.
    """
    if not rows:
        return
    meta = rows[0]._meta
    known = {field.name: field for field in meta.concrete_fields}
    fields, guarded = [known[name] for name in names], known[guard]

    def quote(name: str | None) -> str:
        return connection.ops.quote_name(str(name))

    columns = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    where = f"{quote(meta.pk.column if meta.pk else None)} = %s AND {quote(guarded.column)} = %s"
    sql = f"UPDATE {quote(meta.db_table)} SET {columns} WHERE {where}"  # noqa: S608 -- names of models alone
    parameters = [
        (
            *(field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields),
            row.pk,
            guarded.get_db_prep_save(before, connection),
        )
        for row, before in zip(rows, was, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(sql, parameters)
        if cursor.rowcount != len(rows):
            raise RunFinished("Another reporter has just moved this run.")
