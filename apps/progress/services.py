"""The only writer of progress. Each verb is one short transaction: lock the dataset's head, move by compare-and-set,
record, count the version up, and announce it once it is committed.

A verb called inside a caller's transaction joins it, so that results and progress are committed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from apps.core.text import MESSAGE_LENGTH, text
from apps.datasets.models import Dataset

from . import estimates
from .errors import NoRun, RunFinished, RunUnfinished, UnknownStage
from .models import Head, Run, Stage
from .store import Changes, check_counts, lock, write
from .transitions import State


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage that a run is going to have. ``total`` 0: not known yet. ``weight``: its share of the whole run."""

    name: str
    label: str = ""
    counts_as: State = State.INDEXING
    unit: str = "items"
    total: int = 0
    weight: float = 1.0


@contextmanager
def _changing(run_pk: int) -> Iterator[Changes]:
    """Lock the head of an unfinished run's dataset, hand out its run, and write down what was done to it."""
    with transaction.atomic():
        # An unfinished run is always its dataset's latest, so it is found by the head that has to be locked anyway.
        locked = lock(timezone.now(), "run_id", [run_pk])
        changes = next(iter(locked.values()), None)
        if changes is None or changes.run.is_finished:
            run = changes.run if changes else Run.objects.get(pk=run_pk)
            raise RunFinished(f"Run {run.number} is over: {run.state}.")
        yield changes
        write([changes])


def begin_run(
    dataset: Dataset,
    stages: Sequence[StagePlan] = (),
    *,
    message: str = "",
    idempotency_key: str = "",
    replace: bool = False,
) -> Run:
    """Open the next run of ``dataset``, pending.

    ``idempotency_key``: a key that the dataset has had before returns the run that was begun with it, whatever became
    of it.
    ``replace``: an unfinished run ends as cancelled. Raises `RunUnfinished` where there is one and it may not.
    """
    return begin_or_find_run(dataset, stages, message=message, idempotency_key=idempotency_key, replace=replace)[0]


def begin_or_find_run(
    dataset: Dataset,
    stages: Sequence[StagePlan] = (),
    *,
    message: str = "",
    idempotency_key: str = "",
    replace: bool = False,
) -> tuple[Run, bool]:
    """As `begin_run`; and whether the run was begun just now."""
    with transaction.atomic():
        if idempotency_key:
            Head.objects.get_or_create(dataset=dataset)
            Head.objects.select_for_update().get(pk=dataset.pk)  # so that of two who begin it at once, one does
            if (known := Run.objects.filter(dataset=dataset, idempotency_key=idempotency_key).first()) is not None:
                return known, False
        changes = open_run(
            dataset.pk, timezone.now(), stages, message=message, idempotency_key=idempotency_key, replace=replace
        )
        write([changes])
        return changes.run, True


def open_run_of(dataset: Dataset) -> Run:
    """The run of a dataset that is not finished. Raises `NoRun`."""
    run = Run.objects.filter(dataset=dataset).unfinished().first()
    if run is None:
        raise NoRun("No run is open.")
    return run


def open_run(
    dataset_pk: int,
    now: datetime,
    stages: Sequence[StagePlan] = (),
    *,
    message: str = "",
    idempotency_key: str = "",
    replace: bool = False,
) -> Changes:
    """The next run of a dataset, whose changes are still to be written; see `begin_run`."""
    Head.objects.get_or_create(dataset_id=dataset_pk)
    before = lock(now, "dataset_id", [dataset_pk]).get(dataset_pk)
    head = before.head if before else Head.objects.select_for_update().get(pk=dataset_pk)
    number = (Run.objects.filter(dataset=dataset_pk).aggregate(last=Max("number"))["last"] or 0) + 1
    if before is not None and not before.run.is_finished:
        if not replace:
            raise RunUnfinished(f"Run {before.run.number} is not finished.")
        before.cancel(f"Replaced by run {number}.", "replaced")
        write([before])
    run = Run.objects.create(
        dataset_id=dataset_pk, number=number, idempotency_key=idempotency_key,
        message=text(message, MESSAGE_LENGTH), created_at=now, updated_at=now,
    )  # fmt: skip
    planned = Stage.objects.bulk_create(
        Stage(
            run=run, position=position, name=plan.name, label=plan.label, counts_as=plan.counts_as.value,
            unit=plan.unit, total=plan.total, weight=plan.weight,
        )
        for position, plan in enumerate(stages)
    )  # fmt: skip
    changes = Changes(head, run, now, planned)
    changes.record("", "", State.PENDING.value)
    return changes


def start_stage(run_pk: int, name: str, *, total: int | None = None, message: str | None = None) -> Run:
    """Make ``name`` the stage under way; the one before it is done. Nothing changes but total and message where it
    is under way already. Raises `UnknownStage`, `RunFinished`, `IllegalTransition` (a stage that is over), `ValueError`
    (a negative total).
    """
    check_counts(total)
    with _changing(run_pk) as changes:
        stage = changes.stage_named(name)
        if stage is None:
            raise UnknownStage(f"This run has no stage {name!r}.")
        changes.start(stage)
        changes.alive(progressed=True)
        changes.say(message)
        changes.count(stage, None, total)
        changes.raise_percent()
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
    check_counts(current, total, skipped)
    with _changing(run_pk) as changes:
        changes.alive()
        if current is not None or total is not None:
            if (stage := changes.active_stage()) is None:
                raise UnknownStage("No stage is under way.")
            changes.count(stage, current, total)
        changes.say(message)
        if skipped is not None:
            changes.set(skipped=skipped)
        return changes.run


def heartbeat(run_pk: int) -> bool:
    """Note a sign of life. Watchers are told nothing: health is reckoned when it is read. False if the run is over."""
    return bool(Run.objects.filter(pk=run_pk).unfinished().update(heartbeat_at=timezone.now()))


def record_failures(run_pk: int, stage: str, failures: Iterable[tuple[str, str]]) -> Run:
    """List items that could not be processed, each (item, reason); one that is listed already is not listed twice."""
    with _changing(run_pk) as changes:
        new = changes.list_failures(stage, failures)
        changes.alive()
        changes.set(failed=changes.run.failed + new)
        return changes.run


def finish(run_pk: int, *, message: str = "") -> Run:
    """Make the run ready: the stage under way is done, those that never began are skipped."""
    with _changing(run_pk) as changes:
        changes.finish()
        changes.say(message)
        return changes.run


def fail(run_pk: int, error: str) -> Run:
    """End the run in error; the stage under way has failed, and its count stays as it was."""
    with _changing(run_pk) as changes:
        changes.fail(error)
        changes.say("")
        return changes.run


def cancel(run_pk: int) -> Run:
    """End the run because it was asked to: in error on the wire, with ``cancelled`` beside it."""
    with _changing(run_pk) as changes:
        changes.cancel()
        changes.say("")
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
