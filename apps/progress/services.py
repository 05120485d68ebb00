"""The verbs on a run. Each takes one short transaction: lock, change in memory, flush, announce on commit (`store`).

A verb that is called within a transaction joins it: this is how the pipeline commits results and progress together. It
also means that a rollback of the caller takes the verb back. So end a run (`fail`, `cancel`) outside the transaction
whose failure is the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.core.text import clean_item_name
from apps.datasets.models import Dataset

from . import control, health, listening, members, selectors, store
from .errors import RunFinished, RunUnfinished, UnknownStage
from .facts import Facts, health_of
from .history import learned_from
from .models import Run
from .origin import NO_ORIGIN, Origin
from .reports import Report, apply_report
from .run_state import RunState, check_counts
from .store import changing
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


def begin_run(
    dataset: Dataset,
    stages: Sequence[StagePlan] = (),
    *,
    message: str = "",
    idempotency_key: str = "",
    replace: bool = False,
    origin: Origin = NO_ORIGIN,
) -> Run:
    """Begin the next run of ``dataset``, pending.

    ``idempotency_key``: a key that the dataset has had before returns the run that was begun with it, whatever became
    of it. ``replace``: cancel the unfinished run, if there is one; else it raises `RunUnfinished`.
    ``origin``: who begins it, and where.
    """
    return begin_or_find_run(
        dataset, stages, message=message, idempotency_key=idempotency_key, replace=replace, origin=origin
    ).run


class Begun(NamedTuple):
    """A run, whether it was begun just now, and whether one that is shared was joined."""

    run: Run
    is_new: bool
    joined: bool = False


def begin_or_find_run(
    dataset: Dataset,
    stages: Sequence[StagePlan] = (),
    *,
    message: str = "",
    idempotency_key: str = "",
    replace: bool = False,
    join_as: str = "",
    origin: Origin = NO_ORIGIN,
) -> Begun:
    """Do as `begin_run`. ``join_as``: the worker that shares the run with others who do so, until it leaves.

    It joins the unfinished run if that was heard of lately, or was begun with the same key. The stages that the run
    does not have are added behind. Else it begins the next, and the run that nobody reports any more ends in error.
    """
    with transaction.atomic():
        now = timezone.now()
        head = store.lock_or_create_head(dataset.pk)  # so that of two who use a key at once, one begins the run
        if idempotency_key:
            known = Run.objects.filter(dataset=dataset, idempotency_key=idempotency_key).first()
            if known is not None and known.lost_in and known.pk == head.run_id:
                lost = store.load_runs({dataset.pk: head}, now)[dataset.pk]
                lost.take_back_end()
                store.flush([lost])
                known = lost.run
            if known is not None and (known.is_finished or not join_as):
                return Begun(known, is_new=False)
        number = store.next_run_number(dataset.pk)
        last = store.load_runs({dataset.pk: head}, now).get(dataset.pk)
        if last is not None and not last.run.is_finished:
            has_key = idempotency_key != "" and last.run.idempotency_key == idempotency_key
            if join_as and (has_key or members.is_alive(last)):
                store.load_members([last])
                members.join(last, join_as)
                for plan in stages:
                    if last.stage_named(plan.name) is None:
                        last.add_stage(**asdict(plan), is_planned=True)
                last.change_plan()
                store.flush([last])
                return Begun(last.run, is_new=False, joined=True)
            if join_as:
                last.fail("Nobody reported it any more.")
            elif replace:
                last.cancel(f"Replaced by run {number}.", "replaced")
            else:
                raise RunUnfinished(f"Run {last.run.number} is not finished.")
            store.flush([last])
        learned = learned_from(store.load_ready_stages(dataset.pk)) if number > 1 else ()
        state = RunState.begin(
            head, number, now, message=message, idempotency_key=idempotency_key, learned=learned, origin=origin
        )
        for plan in stages:
            state.add_stage(**asdict(plan), is_planned=True)
        state.grow_percent()
        if join_as:
            members.join(state, join_as)
        store.flush([state])
        return Begun(state.run, is_new=True)


def start_stage(run_pk: int, name: str, *, total: int | None = None, message: str | None = None) -> Run:
    """Make ``name`` the active stage; the one before it is done. Where it is active already, set total and message.

    Raises `UnknownStage`, `RunFinished`, `IllegalTransition` (a stage that is over), `ValueError` (a negative total).
    """
    check_counts(total)
    with changing(run_pk) as state:
        stage = state.stage_named(name)
        if stage is None:
            raise UnknownStage(f"This run has no stage {name!r}.")
        state.start_stage(stage)
        state.note_heartbeat(progressed=True)
        state.acknowledge()
        state.set_message(message)
        state.set_counts(stage, None, total)
        state.grow_percent()
        return state.run


def report(
    run_pk: int,
    *,
    current: int | None = None,
    total: int | None = None,
    message: str | None = None,
    skipped: int | None = None,
    progressed: bool = False,
) -> Run:
    """Set the absolute counts of the active stage; what is None stays. Also a sign of life.

    ``progressed``: the work goes on, though no count grows.

    The rules are those of any `Report`, but it starts no stage: `UnknownStage` is raised where a count comes and no
    stage is active. Raises `RunFinished`, and `ValueError` for a count that cannot be stored.
    """
    check_counts(current, total, skipped)
    with changing(run_pk) as state:
        if (current is not None or total is not None) and state.active_stage() is None:
            raise UnknownStage("No stage is under way.")
        apply_report(state, Report(current=current, total=total, message=message, skipped=skipped))
        if progressed:
            state.note_heartbeat(progressed=True)
        return state.run


def note_origin(run_pk: int, origin: Origin) -> None:
    """Note where an unfinished run is worked on now. Who began it stays. Watchers are not told."""
    store.write_origin(run_pk, origin)


def heartbeat(run_pk: int) -> bool:
    """Note a sign of life, of which watchers are not told: they see the health. False if the run is over."""
    return store.write_heartbeat(run_pk)


def note_queued(run_pk: int) -> Run:
    """Note that a run waits for a worker that is free, from now until somebody gives a sign of life."""
    with changing(run_pk) as state:
        state.run.queued_at = state.now
        return state.run


def record_failures(run_pk: int, stage: str, failures: Iterable[tuple[str, str]]) -> Run:
    """List items that could not be processed, each (item, reason). One that is listed already is not listed twice.

    Beyond ``MOST_FAILURES`` of a run they are counted by reason.
    """
    failures = list(failures)
    with changing(run_pk, items={clean_item_name(item) for item, _ in failures}) as state:
        state.note_heartbeat()
        state.run.failed += state.list_failures(stage, failures)
        return state.run


def take_back_failures(run_pk: int, stage: str) -> Run:
    """Delete the failures of a stage, and count them as failed no longer: the stage starts over."""
    with changing(run_pk) as state:
        store.delete_failures(state, stage)
        return state.run


def finish(run_pk: int, *, message: str = "") -> Run:
    """End the run as ready: the active stage is done, those that never began are skipped."""
    with changing(run_pk) as state:
        state.finish()
        state.set_message(message)
        return state.run


def fail(run_pk: int, error: str, *, note: str = "") -> Run:
    """End the run in error: the active stage has failed and keeps its count.

    Whoever sees the dataset sees ``error``. ``note`` is for those who may steer it: paths, and texts of exceptions.

    Call it outside the transaction that failed: within it, the rollback would take it back.
    """
    with changing(run_pk) as state:
        state.fail(error, note)
        state.set_message("")
        return state.run


def cancel(run_pk: int) -> Run:
    """End the run because it was asked to: in error on the wire, with ``cancelled`` beside it.

    As `fail`, call it outside a transaction that is going to be rolled back.
    """
    with changing(run_pk) as state:
        state.cancel()
        state.set_message("")
        return state.run


def request_pause(run_pk: int, by: str = "") -> bool:
    """Ask the reporter to pause, as ``by`` wants. False if it was asked to already, or to cancel."""
    with changing(run_pk) as state:
        return control.apply(state, control.Action.PAUSE, by).changed


def request_resume(run_pk: int, by: str = "") -> bool:
    """Ask the reporter to go on, as ``by`` wants. False if the run was not paused."""
    with changing(run_pk) as state:
        return control.apply(state, control.Action.RESUME, by).changed


def request_cancel(run_pk: int, by: str = "") -> bool:
    """Ask the reporter to stop for good, as ``by`` wants. False if it was asked to already, and the run goes on.

    Where no reporter was heard for a while, or none ever, the run ends at once; one that comes back is told so at its
    next report.
    """
    with changing(run_pk) as state:
        return control.apply(state, control.Action.CANCEL, by).changed


def note_skip(dataset_pk: int, why: str) -> None:
    """Add to the events of a dataset's open run that another, which was due, is skipped. Nothing if none is open."""
    run = Run.objects.unfinished().filter(dataset=dataset_pk).first()
    if run is not None:
        with suppress(RunFinished), changing(run.pk) as state:
            state.note_skip(why)


def acknowledge(run_pk: int) -> None:
    """Note that whoever works on the run stops, as it was asked. Nothing, if the run is over, or was resumed since:
    whoever takes it next obeys that.
    """
    with suppress(RunFinished), changing(run_pk) as state:
        if state.run.control != Run.Control.RUN:
            state.acknowledge()


def request(action: control.Action, dataset_pks: Collection[int], by: str) -> dict[int, control.Outcome]:
    """Do ``action`` to the latest runs of these datasets, as ``by`` wants. Returns what became of each.

    One transaction, and a constant number of queries. A dataset that never ran has no outcome.
    """
    with transaction.atomic():
        states = store.load_runs(store.lock_heads("dataset_id", dataset_pks), timezone.now())
        store.load_members(states.values(), {""})
        outcomes = {pk: control.apply(state, action, by) for pk, state in states.items()}
        store.flush(states.values())
    return outcomes


def request_first_runs(dataset_pks: Collection[int], by: str) -> set[int]:
    """Ask for the first run of datasets that have never run, as a retry asks for the next. Returns those asked now."""
    return store.ask_first_runs(dataset_pks, by, timezone.now())


def end_left_runs() -> int:
    """End the runs that every member has left or been lost from, as the last that left would have. Returns how many.

    A run whose members all fell silent stays as it is: nobody has said how it ends.
    """
    ended = 0
    for run_pk in selectors.runs_that_may_be_left():
        with suppress(RunFinished), changing(run_pk) as state:
            store.load_members([state])
            members.end_if_left(state)
            ended += state.run.is_finished
    return ended


def note_lost_runs() -> int:
    """Announce the runs that are lost and were not announced. Returns how many. It changes nothing else: a report
    takes it back.
    """
    noted = 0
    for run_pk in selectors.runs_that_may_be_lost():
        with suppress(RunFinished), changing(run_pk) as state:
            facts = Facts(state.head.dataset_id, "", state.now, "", 0, state.run, tuple(state.stages))
            if state.run.lost_at is None and health_of(facts, state.now) == health.Health.LOST:
                state.run.lost_at = state.now
                noted += 1
    return noted


def end_lost_runs() -> int:
    """End the runs that were lost ``END_LOST_AFTER`` hours ago, if that is set. Returns how many.

    The next report takes such an end back. A run that is paused or queued is not lost.
    """
    if not settings.END_LOST_AFTER:
        return 0
    ended = 0
    limit = timedelta(hours=settings.END_LOST_AFTER)
    for run_pk in selectors.runs_unheard_since(timezone.now() - limit):
        with suppress(RunFinished), changing(run_pk) as state:
            heard_at, patience = state.run.heartbeat_at, health.lost_after(state.run.sign_gap)
            is_expected = state.run.control != Run.Control.PAUSE and state.run.queued_at is None
            if not is_expected or heard_at is None or listening.is_unheard(heard_at, patience, state.now):
                continue
            if state.now - heard_at > max(limit, timedelta(seconds=patience)):
                hours = (state.now - heard_at).total_seconds() / 3600
                state.end_as_lost(f"{hours:.3g} hours", f"END_LOST_AFTER is {settings.END_LOST_AFTER:g}")
                ended += 1
    return ended


def renew_epochs(found: Mapping[int, str] | None = None) -> bool:
    """Give every dataset another epoch, because the database was restored and versions have gone back.

    ``found``: the epochs, by row id, of the datasets whose versions were found to have gone back. Of several processes
    that find it, the first renews the epochs; the others get False.
    """
    return store.renew_epochs(found)


def close_for_removal(dataset_pk: int) -> None:
    """Let nobody report on a deleted dataset any more. Waits for those who do."""
    store.remove_head(dataset_pk)


def remove_some_runs(dataset_pk: int) -> int:
    """Remove some rows of a deleted dataset that is closed. Returns how many; 0: there are none left."""
    return store.remove_some_runs(dataset_pk)


def prune_details(before: datetime) -> int:
    """Remove some of the failed items, history and workers of runs that finished before then and are not the latest.

    Returns how many rows; 0: there are none left. The counts of the runs stay.
    """
    return store.prune_details(before)


def prune_runs(before: datetime) -> int:
    """Remove some runs that finished before then and are not the latest. Returns how many; 0: there are none left."""
    return store.prune_runs(before)
