"""Unit of work for progress writes. The only module that writes the tables of progress.

Lock the heads of the datasets, load their latest runs, change them in memory (`run_state`), then flush what has changed
and announce the new versions on commit. A plain report costs three reads and three updates, and one write more with
a new message. A batch costs three reads, and one statement for each changed row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import batched, groupby
from operator import attrgetter
from typing import Any, Final, Literal

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Max, Model, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from apps.core.sql import IDS_AT_ONCE, Put, Update, delete_some, rows_in, write_rows
from apps.core.text import clean_text
from apps.datasets.models import Dataset
from apps.datasets.services import ListedAs, note_listed

from . import history
from .errors import RunFinished
from .events import events_of
from .learning import learned_plan
from .loaded_run import is_new
from .models import (
    Head,
    ItemFailure,
    Retry,
    Run,
    RunMember,
    RunMessage,
    Stage,
    Transition,
    UnlistedFailures,
    WorkerShare,
    new_epoch,
)
from .origin import NAME_LENGTH, Origin
from .run_state import RunState
from .signals import Change, progress_changed, runs_moved
from .transitions import FINISHED, STATE_ORDER, StageState, State

# How far the list's order by the last change may be behind, so that not every report writes the dataset's row.
LISTED_SECONDS: Final = 5
# The rows that one statement inserts.
ROWS_AT_ONCE: Final = 100
# The reasons by which the failures of a run that are not listed are counted. What comes later counts as another.
MAX_REASONS: Final = 100
OTHER_REASONS: Final = "other reasons"

_VERSION: Final = frozenset({"version"})
_VERSION_AND_RUN: Final = frozenset({"version", "run"})
_RETRY: Final = frozenset({"retry", "retry_by", "retry_at"})
_SHARE_COUNTS: Final = frozenset(
    {"current", "total", "failed", "skipped", "rate", "heard_at", "progressed_at", "left_at"}
)


# --- Lock and load ----------------------------------------------------------------------------------------------------


def lock_heads(column: Literal["dataset_id", "run_id"], row_ids: Collection[int]) -> dict[int, Head]:
    """Lock the heads of datasets, or of the runs that are the latest of their datasets. Returns them by dataset.

    In order of id, so that two writers never wait for each other. A dataset that never ran has none.
    """
    return {head.dataset_id: head for head in rows_in(Head, column, row_ids, order="dataset_id", lock=True)}


def lock_or_create_head(dataset_pk: int) -> Head:
    """Lock the head of a dataset, which is created where there is none. Raises `Dataset.DoesNotExist`.

    The head comes before the dataset's row, as in `flush`. Where there is none, the row is locked first, so that no
    head is created for a dataset that is being deleted.
    """
    if (head := Head.objects.select_for_update().filter(pk=dataset_pk).first()) is not None:
        Dataset.objects.only("pk").get(pk=dataset_pk)
        return head
    Dataset.objects.select_for_update(no_key=True).only("pk").get(pk=dataset_pk)
    Head.objects.get_or_create(dataset_id=dataset_pk)
    return Head.objects.select_for_update().get(pk=dataset_pk)


def load_runs(heads: Mapping[int, Head], now: datetime) -> dict[int, RunState]:
    """Load the latest runs of datasets with their stages, by dataset. Left out are datasets that never ran.

    Call it with the heads locked: then it sees all that others have committed.
    """
    heads_by_run = {head.run_id: head for head in heads.values() if head.run_id is not None}
    stages: dict[int, list[Stage]] = {run_pk: [] for run_pk in heads_by_run}
    for stage in rows_in(Stage, "run_id", heads_by_run, order="run_id, position"):
        stages[stage.run_id].append(stage)
    runs = rows_in(Run, "id", heads_by_run)
    return {run.dataset_id: RunState(heads_by_run[run.id], run, stages[run.id], now) for run in runs}


def load_shares(states: Iterable[RunState], workers: Collection[str]) -> None:
    """Load the shares that ``workers`` have in the stages of the runs. A worker that was not loaded counts as new."""
    stages = {stage.id: (state, stage) for state in states for stage in state.stages}
    for stage_pks in batched(stages, IDS_AT_ONCE) if workers else ():
        for share in WorkerShare.objects.filter(stage__in=stage_pks, worker__in=workers):
            state, stage = stages[share.stage_id]
            state.add_loaded_share(stage, share)


def load_listed_failures(states: Iterable[RunState], items: Collection[str]) -> None:
    """Load which of ``items``, as `clean_item_name` makes them, are listed as failures of the runs already."""
    runs = {state.run.pk: state for state in states}
    for some in batched(items, IDS_AT_ONCE):
        listed = ItemFailure.objects.filter(run__in=list(runs), item__in=some)
        for run_pk, stage, item in listed.values_list("run", "stage", "item"):
            runs[run_pk].listed_failures.add((stage, item))


def load_members(states: Iterable[RunState], workers: Collection[str] | None = None) -> None:
    """Load the members of the runs that are shared: those named ``workers``, else all."""
    runs = {state.run.pk: state for state in states if state.run.joined}
    for pks in batched(runs, IDS_AT_ONCE):
        members = RunMember.objects.filter(run__in=pks)
        for member in members if workers is None else members.filter(worker__in=workers):
            runs[member.run_id].add_loaded_member(member)


@contextmanager
def changing(run_pk: int, items: Collection[str] = ()) -> Iterator[RunState]:
    """Lock an unfinished run, hand it out to be changed, and flush it. Raises `RunFinished`.

    One transaction, or a part of the caller's. ``items``: those that the block is going to list as failures.
    """
    with transaction.atomic():
        # The head points to the latest run, and an unfinished run is always the latest.
        states = load_runs(lock_heads("run_id", [run_pk]), timezone.now())
        state = next(iter(states.values()), None)
        if state is None or state.run.is_finished:
            run = state.run if state else Run.objects.get(pk=run_pk)
            raise RunFinished(f"Run {run.number} is over: {run.state}.")
        load_listed_failures([state], items)
        load_members([state], {""})
        yield state
        flush([state])


def load_ready_stages(dataset_pk: int) -> list[list[Stage]]:
    """Load the stages of the last ready runs of a dataset, the newest run first."""
    ready = Run.objects.filter(dataset=dataset_pk, state=State.READY).order_by("-number").values("pk")[: history.RUNS]
    stages = Stage.objects.filter(run__in=ready).order_by("-run_id", "position")
    return [list(of_run) for _, of_run in groupby(stages, attrgetter("run_id"))]


def next_run_number(dataset_pk: int) -> int:
    """Return the number of a dataset's next run. The head is locked, so nobody else takes it."""
    return (Run.objects.filter(dataset=dataset_pk).aggregate(last=Max("number"))["last"] or 0) + 1


# --- Flush ------------------------------------------------------------------------------------------------------------


def flush(states: Iterable[RunState]) -> None:
    """Write what has changed, raise the versions of what watchers see, and announce them once they are committed.

    A state is flushed once. Every UPDATE compares the row with what was loaded: should another writer have been there
    despite the lock, `RunFinished` is raised and the transaction must be rolled back.
    """
    states = list(states)
    for state in states:
        if state.has_new_plan:
            state.change_plan(learned_plan(state))
    _insert([state.run for state in states if is_new(state.run)])
    heads, runs, shares, members = _Updates("version"), _Updates("state"), _Updates("worker"), _Updates("worker")
    # Stages that end are written before those that begin: a run has one active stage.
    ending, beginning = _Updates("state"), _Updates("state")
    announced = []
    listed = []
    for state in states:
        head, old_version, old_run_pk = state.head, state.head.version, state.head.run_id
        if state.bump_version_if_visible():
            if state.is_listed_anew(LISTED_SECONDS):
                listed.append(
                    ListedAs(head.dataset_id, state.run.updated_at, STATE_ORDER.index(State(state.run.state)))
                )
            columns = _VERSION if old_run_pk == head.run_id else _VERSION_AND_RUN
            heads.add(head, columns | _RETRY if state.retry_changed else columns, old_version)
            announced.append(Change(head.dataset_id, head.version))
        for row, fields, loaded in state.changed_rows():
            if isinstance(row, Run):
                runs.add(row, fields, loaded["state"])
            elif isinstance(row, WorkerShare):
                shares.add(row, _SHARE_COUNTS, row.worker)
            elif isinstance(row, RunMember):
                members.add(row, fields, row.worker)
            else:
                stages = beginning if row.state == StageState.ACTIVE else ending
                stages.add(row, fields, loaded["state"])
    tables = (heads, runs, ending, beginning, shares, members)
    messages = Put([row for state in states for row in state.kept_messages()], key=("run", "slot"))
    if not write_rows([*(update for table in tables for update in table.statements()), messages]):
        raise RunFinished("Another reporter has just moved this run.")
    _insert([stage for state in states for stage in state.stages if is_new(stage)])
    _insert([row for state in states for row in state.shares.values() if is_new(row)])
    _insert([row for state in states for row in state.members.values() if is_new(row)])
    _insert([row for state in states for row in state.new_failures.values()])
    _insert([row for state in states for row in state.new_transitions])
    for state in states:
        if state.new_unlisted:
            _count_unlisted(state)
    note_listed(listed)
    if events := [event for state in states for event in events_of(state)]:
        runs_moved.send(RunState, events=events)
    if announced:
        transaction.on_commit(partial(_announce, announced))


def _insert(rows: Sequence[Model]) -> None:
    if rows:
        type(rows[0])._default_manager.bulk_create(rows, batch_size=ROWS_AT_ONCE)


def _count_unlisted(state: RunState) -> None:
    """Add to the counts of a run's failures that are not listed. The head is locked, so nobody else adds to them."""
    rows = {(row.stage, row.reason): row for row in UnlistedFailures.objects.filter(run=state.run)}
    changed: set[tuple[str, str]] = set()
    for (stage, reason), count in state.new_unlisted.items():
        key = stage, reason
        if key not in rows and len(rows) >= MAX_REASONS:
            key = stage, OTHER_REASONS
        row = rows.setdefault(key, UnlistedFailures(run=state.run, stage=stage, reason=key[1], count=0))
        row.count += count
        changed.add(key)
    for key in changed:
        rows[key].save()


class _Updates:
    """The rows of one table that have to be updated, grouped by the fields that have changed: a statement a group."""

    def __init__(self, guard: str) -> None:
        self._guard = guard
        self._groups: dict[frozenset[str], tuple[list[Model], list[object]]] = {}

    def add(self, row: Model, fields: frozenset[str], loaded_guard: object) -> None:
        """Add a row, with the value that its guard field had when it was loaded."""
        rows, guards = self._groups.setdefault(fields, ([], []))
        rows.append(row)
        guards.append(loaded_guard)

    def statements(self) -> Iterator[Update]:
        for fields, (rows, guards) in self._groups.items():
            yield Update(rows, fields, self._guard, guards)


def _announce(changes: Iterable[Change]) -> None:
    for change in changes:
        progress_changed.send_robust(Change, change=change)


# --- Writes beside the runs that are loaded ---------------------------------------------------------------------------


def delete_failures(state: RunState, stage: str) -> None:
    """Delete the failures of a stage, and count them as failed no longer."""
    listed, _ = ItemFailure.objects.filter(run=state.run, stage=stage).delete()
    unlisted = UnlistedFailures.objects.filter(run=state.run, stage=stage)
    count = listed + (unlisted.aggregate(count=Sum("count"))["count"] or 0)
    unlisted.delete()
    state.run.failures_listed -= listed
    state.run.failed = max(state.run.failed - count, 0)


def write_heartbeat(run_pk: int) -> bool:
    """Note a sign of life, without a lock and a new version unless the run has waited for it, or was lost.

    False if the run is over.
    """
    now = timezone.now()
    # The run first, as `flush` writes them: of two writers, neither waits for the other in turn.
    heard_lately = Q(heartbeat_at=None) | Q(heartbeat_at__gte=now - timedelta(seconds=settings.LOST_AFTER))
    running = Run.objects.filter(heard_lately, pk=run_pk, asked_at=None, queued_at=None).unfinished()
    if not running.update(heartbeat_at=now):
        try:
            with changing(run_pk) as state:
                state.note_heartbeat()  # which leaves the silence out of the time of work
        except (RunFinished, Run.DoesNotExist):
            return False
    RunMember.objects.filter(run=run_pk, worker="", heard_at__lt=now).update(heard_at=now)
    return True


def write_origin(run_pk: int, origin: Origin) -> None:
    """Write where an unfinished run is worked on, without a lock and a new version. Who began it stays."""
    Run.objects.filter(pk=run_pk).unfinished().update(origin=origin.columns()["origin"])


def ask_first_runs(dataset_pks: Collection[int], by: str, now: datetime) -> set[int]:
    """Ask whoever makes the first runs of these datasets to do so, as ``by`` wants. Returns those that were asked now.

    Those that have run, or were asked already, are left alone. One transaction, and a constant number of queries.
    """
    with transaction.atomic():
        heads = lock_heads("dataset_id", dataset_pks)
        absent = sorted(set(dataset_pks) - heads.keys())
        # As in `lock_or_create_head`.
        rows = Dataset.objects.select_for_update(no_key=True).only("pk").filter(pk__in=absent).order_by("pk")
        existing = [row.pk for row in rows]
        Head.objects.bulk_create((Head(dataset_id=pk) for pk in existing), ignore_conflicts=True)
        heads |= lock_heads("dataset_id", existing)
        fresh = {pk: head for pk, head in heads.items() if head.run_id is None and not head.retry}
        Head.objects.filter(pk__in=list(fresh)).update(
            retry=Retry.ALL, retry_by=clean_text(by, NAME_LENGTH), retry_at=now, version=F("version") + 1
        )
        changes = [Change(pk, head.version + 1) for pk, head in fresh.items()]
        transaction.on_commit(partial(_announce, changes))
    return set(fresh)


def delete_unused_heads(dataset_pks: Collection[int]) -> None:
    """Delete those of the heads that were created for a run which was refused."""
    if dataset_pks:
        Head.objects.filter(pk__in=dataset_pks, run=None, version=0).delete()


def remove_head(dataset_pk: int) -> None:
    """Remove the head of a deleted dataset. Nobody reports on a dataset without a head."""
    Head.objects.filter(pk=dataset_pk).delete()


def remove_some_runs(dataset_pk: int) -> int:
    """Remove some rows of a deleted dataset. Returns how many; 0: there are none left."""
    runs = Run.objects.filter(dataset=dataset_pk)
    return delete_some(*_details_of(runs), Stage.objects.filter(run__in=runs), runs)


def prune_details(before: datetime) -> int:
    """Remove some rows of the lists of runs that finished before then and are not the latest. Returns how many."""
    return delete_some(*_details_of(_finished_runs(before)))


def prune_runs(before: datetime) -> int:
    """Remove some runs that finished before then and are not the latest. Returns how many; 0: there are none left."""
    return delete_some(_finished_runs(before))


def _details_of(runs: QuerySet[Run]) -> tuple[QuerySet[Any], ...]:
    """Return what runs have besides their stages."""
    return (
        ItemFailure.objects.filter(run__in=runs),
        UnlistedFailures.objects.filter(run__in=runs),
        Transition.objects.filter(run__in=runs),
        RunMessage.objects.filter(run__in=runs),
        WorkerShare.objects.filter(stage__run__in=runs),
        RunMember.objects.filter(run__in=runs),
    )


def _finished_runs(before: datetime) -> QuerySet[Run]:
    is_latest = Exists(Head.objects.filter(run=OuterRef("pk")))
    return Run.objects.filter(~is_latest, state__in=FINISHED, finished_at__lt=before)


def renew_epochs(found: Mapping[int, str] | None = None) -> bool:
    """Give every head another epoch; where epochs were ``found``, by dataset, only if a head still has its own."""
    with transaction.atomic():
        # In the order in which reports lock.
        epochs = dict(Head.objects.order_by("pk").select_for_update().values_list("pk", "epoch"))
        if found is not None and not any(epochs.get(pk) == epoch for pk, epoch in found.items()):
            return False
        Head.objects.update(epoch=new_epoch())
        return True
