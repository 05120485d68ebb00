"""Reads. Each takes one query for up to `IDS_AT_ONCE` datasets, and returns frozen values."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import batched, groupby
from operator import itemgetter
from typing import Any, Final

from django.conf import settings
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from apps.core.sql import IDS_AT_ONCE, Statement
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset

from .errors import NoRun
from .facts import Facts, health_of, is_paused, is_waiting
from .health import Health
from .models import Run, RunMember, Stage, Transition, WorkerShare
from .snapshot import DatasetProgress, snapshot
from .transitions import STATE_ORDER, WORKING, StageState, State
from .workers import Worker, worker_of

# For how many scopes of callers the compiled SQL of a poll is kept.
STATEMENTS: Final = 1_000

# Of how many runs the health is looked at, for the filters of the admin and its start page.
MOST_ASSESSED: Final = 1_000

_statements: dict[Hashable, Statement] = {}
_STAND_IN: Final = "\0"  # no dataset has such an id
_NO_PK: Final = -1  # nor such a row

# The columns of each table that a read takes: all those of a run and a stage but those that a bar does not show. A new
# column needs no line here.
_HEAD_COLUMNS: Final = ("pk", "dataset_id", "created_at", "head__epoch", "head__version", "head__retry")
_UNREAD_COLUMNS: Final = {"created_at", "idempotency_key", "failures_listed", "joined"} | {
    "started_by", "origin", "link", "message_count"
}  # fmt: skip
_RUN_COLUMNS: Final = [field.attname for field in Run._meta.concrete_fields if field.attname not in _UNREAD_COLUMNS]
_STAGE_COLUMNS: Final = [field.attname for field in Stage._meta.concrete_fields]
_RUN: Final = len(_HEAD_COLUMNS)
_STAGE: Final = _RUN + len(_RUN_COLUMNS)
_POSITION: Final = _STAGE + _STAGE_COLUMNS.index("position")


def _row_type(columns: Iterable[str]) -> Any:
    """A row as a named tuple: frozen, and made in 1 us, where `Run.from_db` takes 20 us (`timeit`)."""
    return namedtuple("Row", columns)


_make_run, _make_stage = (_row_type(columns)._make for columns in (_RUN_COLUMNS, _STAGE_COLUMNS))


def facts_of(dataset_pks: Iterable[int]) -> dict[int, Facts]:
    """Return the facts of the datasets with these row ids, by id. Ids that no dataset has are left out."""
    return {facts.dataset_pk: facts for pks in batched(dataset_pks, IDS_AT_ONCE) for facts in _facts(_rows_of(pks))}


def _rows_of(pks: tuple[int, ...]) -> Iterable[Sequence[Any]]:
    if len(pks) == 1:
        return _row_of_one().rows(*pks)
    # No `.iterator()`: it would open a cursor on the server, which is two round trips more on PostgreSQL.
    return _with_progress().filter(pk__in=pks)  # type: ignore[return-value]  # the stubs do not know values


@cache
def _row_of_one() -> Statement:
    """Return the statement for one dataset, which a hub reads up to ten times a second."""
    query: Any = _with_progress().filter(pk=_NO_PK)
    return Statement(query, _NO_PK)


@cache
def _with_progress() -> QuerySet[Dataset]:
    """Return a query of all datasets, to be filtered. Built once: building it takes longer than the rest of a read."""
    datasets: Any = Dataset.objects.order_by().values_list(
        *_HEAD_COLUMNS,
        *(f"head__run__{column}" for column in _RUN_COLUMNS),
        *(f"head__run__stages__{column}" for column in _STAGE_COLUMNS),
    )
    return datasets  # type: ignore[no-any-return]  # rows of `values_list()`, which narrow like any other


def facts_for(caller: Caller, dataset_id: str) -> Facts | None:
    """Return the facts of a dataset that ``caller`` may see; else None. Every poll asks this, so the SQL is kept."""
    if not caller.may_read:
        return None
    statement = _statements.get(caller.scope)
    if statement is None:
        if len(_statements) >= STATEMENTS:
            _statements.clear()
        query: Any = caller.visible(_with_progress()).filter(dataset_id=_STAND_IN)
        statement = _statements[caller.scope] = Statement(query, _STAND_IN)
    return next(_facts(statement.rows(dataset_id)), None)


def _facts(rows: Iterable[Sequence[Any]]) -> Iterator[Facts]:
    """Yield the facts in rows of `_with_progress`, in order of the datasets' row ids."""
    # Sorted here: the ORM takes longer to write an ORDER BY. Only a dataset's one and only row has no position.
    for dataset_pk, group in groupby(sorted(rows, key=itemgetter(0, _POSITION)), key=itemgetter(0)):
        dataset_rows = list(group)
        _, dataset_id, created_at, epoch, version, retry = dataset_rows[0][:_RUN]
        run = dataset_rows[0][_RUN:_STAGE]
        stages = (row[_STAGE:] for row in dataset_rows if row[_STAGE] is not None)
        yield Facts(
            dataset_pk=dataset_pk,
            dataset_id=dataset_id,
            created_at=created_at,
            epoch=epoch or str(dataset_pk),
            version=version or 0,
            retry=retry or "",
            run=_make_run(run) if run[0] is not None else None,
            stages=tuple(map(_make_stage, stages)),
        )


def progress_of(dataset_pk: int) -> DatasetProgress:
    """Return the progress of a dataset. Raises `Dataset.DoesNotExist` for an id that no dataset has."""
    facts = facts_of([dataset_pk]).get(dataset_pk)
    if facts is None:
        raise Dataset.DoesNotExist
    return snapshot(facts, timezone.now())


def progress_of_many(dataset_pks: Iterable[int]) -> dict[int, DatasetProgress]:
    """Return the progress of each dataset, by row id."""
    now = timezone.now()
    return {pk: snapshot(facts, now) for pk, facts in facts_of(dataset_pks).items()}


def unfinished_run(dataset: Dataset) -> Run:
    """Return the run of a dataset that is not finished. Raises `NoRun`."""
    run = Run.objects.filter(dataset=dataset).unfinished().first()
    if run is None:
        raise NoRun("No run is open.")
    return run


def runs_that_may_be_left() -> list[int]:
    """Return the row ids of unfinished runs that a member has left, and in which no other was heard of lately."""
    heard_lately = timezone.now() - timedelta(seconds=settings.LOST_AFTER)
    of_run = RunMember.objects.filter(run=OuterRef("pk"))
    left, living = of_run.filter(left_at__isnull=False), of_run.filter(left_at=None, heard_at__gte=heard_lately)
    runs = Run.objects.unfinished().filter(Exists(left), ~Exists(living))
    return list(runs.values_list("pk", flat=True))


def runs_unheard_since(moment: datetime) -> list[int]:
    """Return the row ids of up to 1,000 working runs that gave no sign of life since then and are asked for one."""
    runs = Run.objects.filter(state__in=WORKING, heartbeat_at__lt=moment, queued_at=None)
    return list(runs.exclude(control=Run.Control.PAUSE).values_list("pk", flat=True)[:1_000])


def workers_of(run: Run, *, after: int, limit: int, now: datetime) -> tuple[list[Worker], int | None]:
    """Return up to ``limit`` workers of a run, those that came after the one numbered ``after``, and where to go on.

    A worker of several stages is there once for each. One query.
    """
    shares = WorkerShare.objects.filter(stage__run=run.pk, pk__gt=after).select_related("stage").order_by("pk")
    page = list(shares[: limit + 1])
    works = run.state in WORKING and not is_paused(run) and not is_waiting(run, now)
    workers = [worker_of(run, share, now, works=works) for share in page[:limit]]
    return workers, page[limit - 1].pk if page[limit:] else None


def health_of_newest(now: datetime) -> list[tuple[Run, Health | None]]:
    """Return the newest runs under way, with their datasets, and the health of each at ``now``. Two queries.

    At most `MOST_ASSESSED`: health is no column, and depends on the time.
    """
    runs = Run.objects.filter(state__in=WORKING, dataset__deleted_at=None).select_related("dataset")
    newest = runs.prefetch_related("stages").order_by("-pk")[:MOST_ASSESSED]
    return [(run, health_of(facts_of_run(run), now)) for run in newest]


def facts_of_run(run: Run) -> Facts:
    """Return the facts of one run, the latest or not, whose dataset and stages were fetched with it. No query."""
    return Facts(run.dataset_id, run.dataset.dataset_id, run.created_at, "", 0, run, tuple(run.stages.all()))


def active_workers(run: Run, *, limit: int, now: datetime) -> list[Worker]:
    """Return up to ``limit`` workers of the stage under way, first those not heard of for longest. One query."""
    shares = WorkerShare.objects.filter(stage__run=run.pk, stage__state=StageState.ACTIVE).select_related("stage")
    works = run.state in WORKING and not is_paused(run) and not is_waiting(run, now)
    # A worker that is done is heard no more, and comes last.
    ordered = shares.order_by(F("left_at").asc(nulls_first=True), "heard_at", "pk")[:limit]
    return [worker_of(run, share, now, works=works) for share in ordered]


def runs_that_may_be_lost() -> list[int]:
    """Return the row ids of working runs that were not heard of lately and are not announced as lost."""
    heard_lately = timezone.now() - timedelta(seconds=settings.LOST_AFTER)
    runs = Run.objects.filter(state__in=WORKING, lost_at=None, heartbeat_at__lt=heard_lately)
    return list(runs.exclude(control=Run.Control.PAUSE).values_list("pk", flat=True))


def failure_note(run: Run) -> str:
    """Return what those who may steer a dataset are told of a run's error beside the error itself; else empty."""
    end = Transition.objects.filter(run=run, stage="", new=State.ERROR.value).order_by("-pk").first()
    return end.note if end is not None and not run.cancelled and end.note not in run.error else ""


def in_state(datasets: QuerySet[Dataset], *states: State) -> QuerySet[Dataset]:
    """Filter datasets by the state of their latest run: one of ``states``. A dataset that never ran is pending."""
    return datasets.filter(state_order__in=[STATE_ORDER.index(state) for state in states])


def newest_dataset_pk() -> int:
    """Return the row id of the newest dataset, which may be hidden from all who ask; 0 if there is none."""
    return Dataset.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def versions_of(dataset_pks: Iterable[int]) -> dict[int, tuple[str, int]]:
    """Return epoch and version of datasets by row id. One that is gone has no entry.

    The version of one that never ran is 0, and its epoch the row id, which no other dataset has.
    """
    return {
        pk: (epoch or str(pk), version or 0)
        for pks in batched(dataset_pks, IDS_AT_ONCE)
        for pk, epoch, version in Dataset.objects.filter(pk__in=pks).values_list("pk", "head__epoch", "head__version")
    }
