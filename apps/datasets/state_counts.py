"""How many datasets each state has, without counting them: triggers of the database keep the counts.

A trigger adds a row of `StateCount` for each dataset that comes, goes, or changes its state or visibility. It changes
no other row, so two writers never wait for each other. `add_up` replaces many rows by their sums.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, QuerySet, Sum

from .access.rules import Caller
from .models import Dataset, StateCount

logger = logging.getLogger(__name__)

# `add_up` runs above this many rows.
MOST_ROWS: Final = 200
# Rows per transaction. On SQLite other writers wait for it.
ADDED_AT_ONCE: Final = 5_000

_COUNTS: Final = StateCount._meta.db_table
_DATASETS: Final = Dataset._meta.db_table
# Triggers with another text need another name, and a migration that drops these.
_TRIGGER: Final = "dataset_counted"
_TRIGGERS: Final = (_TRIGGER, f"{_TRIGGER}_update", f"{_TRIGGER}_delete")
_INSERT: Final = f"INSERT INTO {_COUNTS} (visibility, state_order, count)"
_RECOUNT: Final = [
    f"DELETE FROM {_COUNTS}",  # noqa: S608 -- a model's
    f"{_INSERT} SELECT visibility, state_order, COUNT(*) FROM {_DATASETS} WHERE deleted_at IS NULL GROUP BY 1, 2",  # noqa: S608 -- models'
]
_LEAVE: Final = f"{_INSERT} SELECT OLD.visibility, OLD.state_order, -1 WHERE OLD.deleted_at IS NULL;"
_ENTER: Final = f"{_INSERT} SELECT NEW.visibility, NEW.state_order, 1 WHERE NEW.deleted_at IS NULL;"
_COLUMNS: Final = "visibility, state_order, deleted_at"
_IS_CHANGED: Final = """
    OLD.visibility <> NEW.visibility OR OLD.state_order <> NEW.state_order
    OR (OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL)
"""
_SQLITE: Final = [
    f"CREATE TRIGGER {_TRIGGER} AFTER INSERT ON {_DATASETS} BEGIN {_ENTER} END",
    f"CREATE TRIGGER {_TRIGGER}_delete AFTER DELETE ON {_DATASETS} BEGIN {_LEAVE} END",
    f"CREATE TRIGGER {_TRIGGER}_update AFTER UPDATE OF {_COLUMNS} ON {_DATASETS} WHEN {_IS_CHANGED} "
    f"BEGIN {_LEAVE} {_ENTER} END",
]
_POSTGRESQL: Final = [
    f"""
    CREATE OR REPLACE FUNCTION {_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN {_LEAVE} END IF;
        IF TG_OP <> 'DELETE' THEN {_ENTER} END IF;
        RETURN NULL;
    END $$
    """,
    f"CREATE TRIGGER {_TRIGGER} AFTER INSERT OR DELETE ON {_DATASETS} FOR EACH ROW EXECUTE FUNCTION {_TRIGGER}()",
    f"CREATE TRIGGER {_TRIGGER}_update AFTER UPDATE OF {_COLUMNS} ON {_DATASETS} FOR EACH ROW "
    f"WHEN ({_IS_CHANGED}) EXECUTE FUNCTION {_TRIGGER}()",
]
_IS_THERE: Final = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = %s",
    "postgresql": f"SELECT 1 FROM pg_trigger WHERE tgname = %s AND tgrelid = to_regclass('{_DATASETS}')",  # noqa: S608 -- a model's
}


def counts_visible_to(caller: Caller, most: int) -> Mapping[int, int] | None:
    """Return how many datasets a user sees, by `Dataset.state_order`. At most two queries.

    For a user who is not staff, count the private datasets that they see. None where those are more than ``most``, and
    for a token, which may cover a part of what its user sees.
    """
    if caller.token is not None:
        return None
    if not caller.may_read:
        return {}
    if caller.is_staff:
        return _kept(StateCount.objects.all())
    counts = _kept(StateCount.objects.filter(visibility=Dataset.Visibility.PUBLIC))
    some = caller.own().filter(visibility=Dataset.Visibility.PRIVATE).order_by().values("pk")[: most + 1]
    rows = Dataset.objects.filter(pk__in=some).order_by().values_list("state_order")
    private = Counter(dict(rows.annotate(count=Count("pk"))))
    return None if private.total() > most else counts + private


def _kept(rows: QuerySet[StateCount]) -> Counter[int]:
    return Counter(dict(rows.order_by().values_list("state_order").annotate(total=Sum("count"))))


def add_up() -> bool:
    """Replace some rows by their sums. Return False where there are only few rows.

    Skip rows that another process has locked.
    """
    if len(StateCount.objects.values_list("pk")[: MOST_ROWS + 1]) <= MOST_ROWS:
        return False
    with transaction.atomic():
        rows = list(StateCount.objects.select_for_update(skip_locked=True).order_by("pk")[:ADDED_AT_ONCE])
        counts: Counter[tuple[str, int]] = Counter()
        for row in rows:
            counts[row.visibility, row.state_order] += row.count
        StateCount.objects.filter(pk__in=[row.pk for row in rows]).delete()
        StateCount.objects.bulk_create(
            StateCount(visibility=visibility, state_order=state_order, count=count)
            for (visibility, state_order), count in counts.items()
            if count
        )
    return True


def create_triggers(using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """Create the triggers where they are missing, and count all datasets anew: after each migration.

    SQLite drops the triggers of a table that a migration changes, and a flush of the database empties the tables in any
    order. On PostgreSQL writers wait for the count, and the count waits no longer than 5 s for them. What goes wrong is
    logged, and the triggers go on counting; it is raised where there are none yet.
    """
    connection = connections[using]
    if not {_COUNTS, _DATASETS} <= set(connection.introspection.table_names()):
        return
    with connection.cursor() as cursor:
        cursor.execute(_IS_THERE[connection.vendor], [f"{_TRIGGER}_update"])
        is_there = cursor.fetchone() is not None
    try:
        with transaction.atomic(using=using), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL lock_timeout = '5s'")
                cursor.execute(f"LOCK TABLE {_DATASETS} IN SHARE ROW EXCLUSIVE MODE")  # those who write datasets wait
                cursor.execute(f"LOCK TABLE {_COUNTS} IN EXCLUSIVE MODE")  # and those who add up
            creation = _SQLITE if connection.vendor == "sqlite" else _POSTGRESQL
            for statement in _RECOUNT if is_there else [*creation, *_RECOUNT]:
                cursor.execute(statement)
    except DatabaseError as error:
        if not is_there:
            raise
        logger.warning("The datasets of each state could not be counted anew: %s", error)


def drop_triggers(apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    """Drop the triggers, before a migration that is taken back drops the table that they write to."""
    is_postgresql = editor.connection.vendor == "postgresql"
    with editor.connection.cursor() as cursor:
        for name in _TRIGGERS:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{f' ON {_DATASETS}' if is_postgresql else ''}")
        if is_postgresql:
            cursor.execute(f"DROP FUNCTION IF EXISTS {_TRIGGER}()")
