"""Reads. One query each for up to `IDS_AT_ONCE` datasets; what comes back is frozen."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from datetime import datetime
from functools import cache
from itertools import batched, groupby
from operator import itemgetter
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.core.sql import IDS_AT_ONCE, Statement
from apps.datasets.access.callers import Caller
from apps.datasets.models import Dataset

from .models import Head, Run, Stage
from .snapshot import DatasetProgress, Facts, RunFacts, StageFacts, snapshot
from .transitions import StageState, State

# How many of those who poll have their SQL kept.
STATEMENTS: Final = 1_000

_statements: dict[Hashable, Statement] = {}
_STAND_IN: Final = "\0"  # no dataset has such an id
_NO_PK: Final = -1  # nor such a row

_RUN = "head__run__"
_STAGE = "head__run__stages__"
_RUN_FIELDS = (
    "number", "state", "control", "cancelled", "message", "error", "percent", "failed", "skipped", "updated_at",
    "heartbeat_at", "progressed_at",
)  # fmt: skip
_STAGE_FIELDS = (
    "name", "label", "counts_as", "unit", "weight", "state", "current", "total", "started_at", "finished_at",
    "readings",
)  # fmt: skip


def facts_of(dataset_pks: Iterable[int]) -> dict[int, Facts]:
    """The facts of the datasets with these row ids, by id. Ids that no dataset has are left out."""
    return {facts.pk: facts for pks in batched(dataset_pks, IDS_AT_ONCE) for facts in _facts(_rows_of(pks))}


def _rows_of(pks: tuple[int, ...]) -> Iterable[dict[str, Any]]:
    if len(pks) == 1:
        return _row_of_one().rows(*pks)
    # No `.iterator()`: it would open a cursor on the server, which is two round trips more on PostgreSQL.
    return _with_progress().filter(pk__in=pks)  # type: ignore[return-value]  # the stubs do not know values


@cache
def _row_of_one() -> Statement:
    """What a hub reads ten times a second while one dataset moves; writing the SQL would take half of that."""
    query: Any = _with_progress().filter(pk=_NO_PK)
    return Statement(query, _NO_PK)


@cache
def _with_progress() -> QuerySet[Dataset]:
    """All datasets, to be narrowed. Made once: that takes the ORM longer than all the rest of a read."""
    datasets: Any = Dataset.objects.order_by().values(
        "pk", "dataset_id", "created_at", "head__version",
        *(_RUN + field for field in _RUN_FIELDS), *(_STAGE + field for field in ("position", *_STAGE_FIELDS)),
    )  # fmt: skip
    return datasets  # type: ignore[no-any-return]  # rows of `values()`, which narrow like any other


def facts_for(caller: Caller, dataset_id: str) -> Facts | None:
    """The facts of a dataset that ``caller`` may see; None of any other. This is what is asked most often, by pollers:
    the SQL is kept for those who asked last.
    """
    statement = _statements.get(caller.scope)
    if statement is None:
        if len(_statements) >= STATEMENTS:
            _statements.clear()
        query: Any = caller.visible(_with_progress()).filter(dataset_id=_STAND_IN)
        statement = _statements[caller.scope] = Statement(query, _STAND_IN)
    return next(_facts(statement.rows(dataset_id)), None)


def _facts(rows: Iterable[dict[str, Any]]) -> Iterator[Facts]:
    """The facts in rows of `_with_progress`, in the order of the datasets' row ids."""
    # Sorted here: the ORM takes longer to write an ORDER BY. Only a dataset's one and only row has no position.
    for pk, group in groupby(sorted(rows, key=itemgetter("pk", _STAGE + "position")), key=itemgetter("pk")):
        stages = list(group)
        yield Facts(
            pk=pk,
            dataset_id=stages[0]["dataset_id"],
            created_at=stages[0]["created_at"],
            version=stages[0]["head__version"] or 0,
            run=_run_facts(stages) if stages[0][_RUN + "number"] is not None else None,
        )


def facts_from(dataset_id: str, head: Head, run: Run, stages: Iterable[Stage]) -> Facts:
    """The facts of a dataset of which everything was read, or written, just now; ``stages`` in order. No query."""
    values = {_RUN + field: getattr(run, field) for field in _RUN_FIELDS}
    rows = [values | {_STAGE + field: getattr(stage, field) for field in _STAGE_FIELDS} for stage in stages]
    return Facts(
        pk=head.pk,
        dataset_id=dataset_id,
        created_at=run.created_at,
        version=head.version,
        run=_run_facts(rows or [values | {_STAGE + "name": None}]),
    )


def _run_facts(rows: list[dict[str, Any]]) -> RunFacts:
    run = {field: rows[0][_RUN + field] for field in _RUN_FIELDS}
    paused = run.pop("control") == Run.Control.PAUSE
    run["error"] = run["error"] or None
    run["state"] = State(run["state"])
    return RunFacts(
        **run, paused=paused, stages=tuple(_stage_facts(row) for row in rows if row[_STAGE + "name"] is not None)
    )


def _stage_facts(row: dict[str, Any]) -> StageFacts:
    stage = {field: row[_STAGE + field] for field in _STAGE_FIELDS}
    stage["state"] = StageState(stage["state"])
    stage["readings"] = tuple((moment, count) for moment, count in stage["readings"])
    return StageFacts(**stage)


def progress_of(dataset_pk: int) -> DatasetProgress:
    """How far a dataset is now. Raises `Dataset.DoesNotExist` for an id that no dataset has."""
    facts = facts_of([dataset_pk]).get(dataset_pk)
    if facts is None:
        raise Dataset.DoesNotExist
    return snapshot(facts, timezone.now())


def progress_of_many(dataset_pks: Iterable[int]) -> dict[int, DatasetProgress]:
    """How far each of the datasets is now, by row id."""
    now = timezone.now()
    return {pk: snapshot(facts, now) for pk, facts in facts_of(dataset_pks).items()}


def in_state(datasets: QuerySet[Dataset], state: State) -> QuerySet[Dataset]:
    """Those of the datasets whose latest run is in ``state``; one that never ran is pending."""
    runs = Q(head__run__state=state.value)
    return datasets.filter(runs | Q(head__run=None) if state is State.PENDING else runs)


def newest_dataset() -> str:
    """When the newest dataset was made, for telling whether there is a newer one; empty where there is none."""
    made: datetime | None = Dataset.objects.order_by("-pk").values_list("created_at", flat=True).first()
    return f"{made.timestamp():.6f}" if made else ""


def versions_of(dataset_pks: Iterable[int]) -> dict[int, int]:
    """The versions of the datasets with these row ids; 0 for one that never ran, nothing for one that is gone."""
    return {
        pk: version or 0
        for pks in batched(dataset_pks, IDS_AT_ONCE)
        for pk, version in Dataset.objects.filter(pk__in=pks).values_list("pk", "head__version")
    }
