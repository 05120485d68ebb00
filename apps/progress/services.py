"""The only writer of progress. Each verb is one short transaction: lock the dataset's head, move by compare-and-set,
record, count the version up, and announce it once it is committed.

A verb called inside a caller's transaction joins it, so that results and progress are committed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import BigIntegerField, Max
from django.utils import timezone

from apps.datasets.models import Dataset

from . import estimates
from .errors import RunFinished, RunUnfinished, UnknownStage
from .models import Head, ItemFailure, Run, Stage, Transition
from .signals import Change, progress_changed
from .transitions import StageState, State, check_move, check_stage_move

REASON_LENGTH = 500
MESSAGE_LENGTH = 1000
ERROR_LENGTH = 10_000
# PostgreSQL indexes no more than 2,704 bytes of a row, and the item stands in the index that keeps it there once.
ITEM_BYTES = 1024


def _text(text: str, length: int) -> str:
    """What a reporter says, as every database stores it: no NUL, and no half of a character.

    Messages quote file names, and a name that is not UTF-8 reaches Python with lone surrogates in it.
    """
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="backslashreplace").decode()[:length]


def _check_counts(*counts: int | None) -> None:
    if not all(count is None or 0 <= count <= BigIntegerField.MAX_BIGINT for count in counts):
        raise ValueError(f"A count is a number from 0 to {BigIntegerField.MAX_BIGINT}.")


def _item(name: str) -> str:
    """The name of an item as it is listed. Of one that is too long, the end is kept: it tells files apart."""
    encoded = _text(name, len(name) * 6).encode()
    if len(encoded) > ITEM_BYTES:
        return "…" + encoded[3 - ITEM_BYTES :].decode(errors="ignore")
    return encoded.decode()


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage that a run is going to have. ``total`` 0: not known yet. ``weight``: its share of the whole run."""

    name: str
    label: str = ""
    counts_as: State = State.INDEXING
    unit: str = "items"
    total: int = 0
    weight: float = 1.0


@dataclass(slots=True)
class _Changes:
    """What one verb does to one run, gathered so that each row is written once."""

    head: Head
    run: Run
    now: datetime
    history: list[Transition] = field(default_factory=list)
    run_fields: set[str] = field(default_factory=set)
    seen: bool = False  # whether watchers would see a difference

    def set(self, **values: Any) -> None:
        """Set fields of the run; those that have the value already are left out."""
        for name, value in values.items():
            if getattr(self.run, name) != value:
                setattr(self.run, name, value)
                self.run_fields.add(name)
                self.seen = True

    def alive(self, *, progressed: bool = False) -> None:
        """Note a sign of life, which alone is no change that watchers see."""
        self.set_silently(heartbeat_at=self.now)
        if progressed:
            self.set_silently(progressed_at=self.now)

    def set_silently(self, **values: Any) -> None:
        """Set fields of the run that watchers are not shown."""
        for name, value in values.items():
            setattr(self.run, name, value)
            self.run_fields.add(name)

    def move(self, new: State, note: str = "") -> None:
        """Move the run's state by compare-and-set; nothing where it is there already."""
        old = State(self.run.state)
        if old == new:
            return
        check_move(old, new)
        values: dict[str, Any] = {"state": new.value}
        if old == State.PENDING:
            values["started_at"] = self.now
        if new in (State.READY, State.ERROR):
            values["finished_at"] = self.now
        # The head is locked, so no one can have moved the run since it was read; were the lock ever lost, the
        # comparison still keeps one winner.
        if not Run.objects.filter(pk=self.run.pk, state=old.value).update(**values):
            raise RunFinished(f"Another reporter has just moved {self.run}.")
        for name, value in values.items():
            setattr(self.run, name, value)
        self.record("", old.value, new.value, note)

    def move_stage(self, stage: Stage, new: StageState) -> None:
        """Move a stage's state by compare-and-set; nothing where it is there already."""
        old = StageState(stage.state)
        if old == new:
            return
        check_stage_move(old, new)
        values: dict[str, Any] = {"state": new.value}
        if new == StageState.ACTIVE:
            values["started_at"] = self.now
        else:
            values["finished_at"] = self.now
        if new == StageState.DONE:
            values["total"] = values["current"] = stage.total or stage.current
        if not Stage.objects.filter(pk=stage.pk, state=old.value).update(**values):
            raise RunFinished(f"Another reporter has just moved {stage}.")
        for name, value in values.items():
            setattr(stage, name, value)
        self.record(stage.name, old.value, new.value)

    def record(self, stage: str, old: str, new: str, note: str = "") -> None:
        self.seen = True
        self.history.append(
            Transition(run=self.run, stage=stage, old=old, new=new, note=_text(note, REASON_LENGTH), at=self.now)
        )


@contextmanager
def _changing(run_pk: int) -> Iterator[_Changes]:
    """Lock the head of an unfinished run's dataset, hand out its run, and write down what was done to it."""
    with transaction.atomic():
        # An unfinished run is always its dataset's latest, so it is found by the head that has to be locked anyway.
        head = Head.objects.select_for_update().filter(run_id=run_pk).first()
        run = Run.objects.get(pk=run_pk)
        if head is None or run.is_finished:
            raise RunFinished(f"Run {run.number} is over: {run.state}.")
        changes = _Changes(head, run, timezone.now())
        yield changes
        _write(changes)


def _write(changes: _Changes) -> None:
    head, run = changes.head, changes.run
    if not changes.seen:
        run.save(update_fields=changes.run_fields)
        return
    head.version += 1
    Head.objects.filter(pk=head.pk).update(version=head.version, run=run)
    run.updated_at = changes.now
    run.save(update_fields=["updated_at", *changes.run_fields])
    for row in changes.history:
        row.version = head.version
    Transition.objects.bulk_create(changes.history)
    _announce(Change(head.pk, head.version))


def _announce(change: Change) -> None:
    transaction.on_commit(partial(progress_changed.send_robust, Change, change=change))


def _stages(run: Run) -> list[Stage]:
    return list(Stage.objects.filter(run=run).order_by("position"))


def _active(stages: Iterable[Stage]) -> Stage | None:
    return next((stage for stage in stages if stage.state == StageState.ACTIVE), None)


def _raise_percent(changes: _Changes, stages: Iterable[Stage]) -> None:
    parts = [estimates.Part(StageState(s.state), s.weight, s.current, s.total) for s in stages]
    changes.set(percent=estimates.overall_percent(parts, changes.run.percent))


def begin_run(dataset: Dataset, stages: Sequence[StagePlan] = (), *, message: str = "") -> Run:
    """Open the next run of ``dataset``, pending. Raises `RunUnfinished` where one is open."""
    with transaction.atomic():
        Head.objects.get_or_create(dataset=dataset)
        head = Head.objects.select_for_update().get(pk=dataset.pk)
        if Run.objects.filter(dataset=dataset).unfinished().exists():
            raise RunUnfinished(f"{dataset} has an unfinished run.")
        last = Run.objects.filter(dataset=dataset).aggregate(last=Max("number"))["last"] or 0
        now = timezone.now()
        run = Run.objects.create(
            dataset=dataset, number=last + 1, message=_text(message, MESSAGE_LENGTH), created_at=now, updated_at=now
        )
        Stage.objects.bulk_create(
            Stage(
                run=run, position=position, name=plan.name, label=plan.label, counts_as=plan.counts_as.value,
                unit=plan.unit, total=plan.total, weight=plan.weight,
            )
            for position, plan in enumerate(stages)
        )  # fmt: skip
        changes = _Changes(head, run, now)
        changes.record("", "", State.PENDING.value)
        _write(changes)
        return run


def start_stage(run_pk: int, name: str, *, total: int | None = None, message: str | None = None) -> Run:
    """Make ``name`` the stage under way; the one before it is done. Nothing changes but total and message where it
    is under way already. Raises `UnknownStage`, `RunFinished`, `IllegalTransition` (a stage that is over), `ValueError`
    (a negative total).
    """
    _check_counts(total)
    with _changing(run_pk) as changes:
        stages = _stages(changes.run)
        stage = next((stage for stage in stages if stage.name == name), None)
        if stage is None:
            raise UnknownStage(f"This run has no stage {name!r}.")
        if stage.state != StageState.ACTIVE:
            if (before := _active(stages)) is not None:
                changes.move_stage(before, StageState.DONE)
            changes.move_stage(stage, StageState.ACTIVE)
        changes.move(State(stage.counts_as))
        changes.alive(progressed=True)
        if message is not None:
            changes.set(message=_text(message, MESSAGE_LENGTH))
        _count(changes, stage, None, total)
        _raise_percent(changes, stages)
        return changes.run


def report(
    run_pk: int,
    *,
    current: int | None = None,
    total: int | None = None,
    message: str | None = None,
    skipped: int | None = None,
) -> Run:
    """Set the absolute counts of the stage under way; what is None stays. Also a sign of life.

    A total under the count grows to it: at least that many there are. Raises `RunFinished`; `UnknownStage` where a
    count comes and no stage is under way; `ValueError` where one is negative.
    """
    _check_counts(current, total, skipped)
    with _changing(run_pk) as changes:
        changes.alive()
        if current is not None or total is not None:
            stages = _stages(changes.run)
            stage = _active(stages)
            if stage is None:
                raise UnknownStage("No stage is under way.")
            _count(changes, stage, current, total)
            _raise_percent(changes, stages)
        if message is not None:
            changes.set(message=_text(message, MESSAGE_LENGTH))
        if skipped is not None:
            changes.set(skipped=skipped)
        return changes.run


def _count(changes: _Changes, stage: Stage, current: int | None, total: int | None) -> None:
    before = (stage.current, stage.total)
    if current is not None:
        if current > stage.current:
            changes.alive(progressed=True)
        stage.current = current
    if total is not None:
        stage.total = total
    if stage.total:
        stage.total = max(stage.total, stage.current)
    if (stage.current, stage.total) == before:
        return
    began = stage.started_at or changes.now
    stage.readings = estimates.with_reading(stage.readings, (changes.now - began).total_seconds(), stage.current)
    stage.save(update_fields=["current", "total", "readings"])
    changes.seen = True


def heartbeat(run_pk: int) -> bool:
    """Note a sign of life. Watchers are told nothing: health is reckoned when it is read. False if the run is over."""
    return bool(Run.objects.filter(pk=run_pk).unfinished().update(heartbeat_at=timezone.now()))


def record_failures(run_pk: int, stage: str, failures: Iterable[tuple[str, str]]) -> Run:
    """List items that could not be processed, each (item, reason); one that is listed already is not listed twice."""
    reasons = {_item(item): reason for item, reason in failures}
    with _changing(run_pk) as changes:
        known = ItemFailure.objects.filter(run=changes.run, stage=stage, item__in=reasons)
        for item in known.values_list("item", flat=True):
            del reasons[item]
        ItemFailure.objects.bulk_create(
            ItemFailure(run=changes.run, stage=stage, item=item, reason=_text(reason, REASON_LENGTH), at=changes.now)
            for item, reason in reasons.items()
        )
        changes.alive()
        changes.set(failed=changes.run.failed + len(reasons))
        return changes.run


def finish(run_pk: int, *, message: str = "") -> Run:
    """Make the run ready: the stage under way is done, those that never began are skipped."""

    def end(changes: _Changes) -> None:
        for stage in _stages(changes.run):
            if stage.state == StageState.ACTIVE:
                changes.move_stage(stage, StageState.DONE)
            elif stage.state == StageState.WAITING:
                changes.move_stage(stage, StageState.SKIPPED)
        changes.set(percent=100.0)
        changes.move(State.READY)

    return _end(run_pk, end, message)


def fail(run_pk: int, error: str) -> Run:
    """End the run in error; the stage under way has failed, and its count stays as it was."""

    def end(changes: _Changes) -> None:
        changes.set(error=_text(error, ERROR_LENGTH) or "Failed, and no reason was given.")
        _stop_active_stage(changes, StageState.FAILED)
        changes.move(State.ERROR, note=error)

    return _end(run_pk, end, "")


def cancel(run_pk: int) -> Run:
    """End the run because it was asked to: in error on the wire, with ``cancelled`` beside it."""

    def end(changes: _Changes) -> None:
        changes.set(cancelled=True, error="Cancelled.")
        _stop_active_stage(changes, StageState.SKIPPED)
        changes.move(State.ERROR, note="cancelled")

    return _end(run_pk, end, "")


def _stop_active_stage(changes: _Changes, state: StageState) -> None:
    if (stage := _active(_stages(changes.run))) is not None:
        changes.move_stage(stage, state)


def _end(run_pk: int, end: Callable[[_Changes], None], message: str) -> Run:
    with _changing(run_pk) as changes:
        end(changes)
        changes.alive()
        changes.set(message=_text(message, MESSAGE_LENGTH), control=Run.Control.RUN)
        return changes.run


def request_pause(run_pk: int, note: str = "") -> bool:
    """Ask the reporter to hold. False where the run was not simply running: asked already, being cancelled."""
    return _request(run_pk, {Run.Control.RUN}, Run.Control.PAUSE, note)


def request_resume(run_pk: int, note: str = "") -> bool:
    """Ask the reporter to go on. False where the run was not paused."""
    return _request(run_pk, {Run.Control.PAUSE}, Run.Control.RUN, note)


def request_cancel(run_pk: int, note: str = "") -> bool:
    """Ask the reporter to stop for good. False where it was asked already.

    Where no reporter has begun, or none has been heard of for a while, the run is over at once: one that comes back
    is told so at its next report.
    """
    with transaction.atomic():
        asked = _request(run_pk, {Run.Control.RUN, Run.Control.PAUSE}, Run.Control.CANCEL, note)
        run = Run.objects.get(pk=run_pk)
        silent_since = timezone.now() - timedelta(seconds=estimates.SLOW_AFTER)
        if run.heartbeat_at is None or run.heartbeat_at < silent_since:
            cancel(run_pk)
        return asked


def _request(run_pk: int, old: set[Run.Control], new: Run.Control, note: str) -> bool:
    with _changing(run_pk) as changes:
        if changes.run.control not in old:
            return False
        if changes.run.control == Run.Control.PAUSE:
            # It stood still because it was told to: how long it has been without progress counts from here.
            changes.set_silently(progressed_at=changes.now)
        changes.record("", changes.run.control, new.value, note)
        changes.set(control=new.value)
        return True
