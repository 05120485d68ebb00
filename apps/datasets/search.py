"""Search for a part of a text in the names and IDs of datasets.

On PostgreSQL an index of trigrams finds it in any number of datasets, where the database has the extension `pg_trgm`.
Elsewhere the search stops at a bound, because it would have to read them all.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final, NamedTuple

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower

from .models import Dataset

logger = logging.getLogger(__name__)

# Without the index, this many datasets are searched: those that changed last.
SEARCHED: Final = 20_000
# How many of those that match are found.
MOST_FOUND: Final = 1_000

_INDEX: Final = "dataset_by_parts"
# Trigrams are made of letters and digits. For a text without one, the index would be read from end to end.
_TRIGRAM: Final = re.compile(r"[^\W_]{3}")
# The expressions are those of Django's ``icontains``. With ``fastupdate`` one report in many would have to merge what
# the others had left in the index's list of pending entries.
_CREATE_INDEX: Final = f"""
    CREATE INDEX {_INDEX} ON datasets_dataset
    USING gin (UPPER(dataset_id::text) gin_trgm_ops, UPPER(name::text) gin_trgm_ops)
    WITH (fastupdate = off) WHERE deleted_at IS NULL
"""


class Found(NamedTuple):
    """The row ids of datasets that match, and whether more match than are found.

    ``searched`` is how many datasets were looked through: those that changed last. None: all. Even where it is a
    number, a whole name or ID is found among all.
    """

    dataset_pks: list[int]
    has_more: bool
    searched: int | None


def find(datasets: QuerySet[Dataset], text: str) -> Found:
    """Find those of ``datasets`` that have ``text`` in their ID or name, in any case: the latest `MOST_FOUND`.

    Without the index only the latest `SEARCHED` of ``datasets``, which are those that the caller sees, are looked
    through, and all of them for a whole name in any case, or a whole ID as it is written. SQLite ignores the case of
    ASCII letters alone.
    """
    latest = datasets.order_by("-changed_at", "-pk")
    first_unsearched = None  # then all are searched
    if not _TRIGRAM.search(text) or not _has_index():
        first_unsearched = latest.values_list("changed_at", "pk")[SEARCHED : SEARCHED + 1].first()
    searched = latest
    if first_unsearched is not None:
        changed_at, pk = first_unsearched
        searched = latest.filter(Q(changed_at__gt=changed_at) | Q(pk__gt=pk), changed_at__gte=changed_at)
    parts = _first(searched.filter(has_part(text)))
    if first_unsearched is None:
        return Found(parts[:MOST_FOUND], len(parts) > MOST_FOUND, searched=None)
    # By the index of each: one condition for both would read all datasets.
    ids = _first(datasets.filter(dataset_id=text))
    names = _first(datasets.filter(sort_name=Lower(Value(text))).order_by("pk"))
    found = list(dict.fromkeys(parts[:MOST_FOUND] + ids + names[:MOST_FOUND]))
    return Found(found, max(len(parts), len(names)) > MOST_FOUND, searched=SEARCHED)


def has_part(text: str) -> Q:
    """Return the condition that an ID or a name has ``text`` in it, in any case."""
    return Q(dataset_id__icontains=text) | Q(name__icontains=text)


def _first(datasets: QuerySet[Dataset]) -> list[int]:
    """Return the row ids of the first datasets, and of one more than are found, which tells that there are more."""
    return list(datasets.values_list("pk", flat=True)[: MOST_FOUND + 1])


def _has_index() -> bool:
    return connection.vendor == "postgresql" and _exists(_INDEX, DEFAULT_DB_ALIAS)


def _exists(relation: str, using: str) -> bool:
    """Return whether a database of PostgreSQL has a table or an index of this name."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [relation])
        return bool(cursor.fetchone()[0])


def create_index(using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """Create the index of trigrams on PostgreSQL, where it is missing: after each migration, and after a restore.

    Its extension needs a role with CREATE on the database; from PostgreSQL 13 on, where it is trusted, no more than
    that. What goes wrong is logged, and the next call tries again. A report waits while the index is built, but the
    build does not wait longer than 5 s for a transaction that writes: all other writers would queue behind it.
    """
    if connections[using].vendor != "postgresql" or _exists(_INDEX, using) or not _exists("datasets_dataset", using):
        return
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '5s'")
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            cursor.execute(_CREATE_INDEX)
            cursor.execute("ANALYZE datasets_dataset")  # or the planner knows nothing of the index's expressions
    except DatabaseError as error:
        logger.warning(
            "The search index could not be created, so searches look through %s datasets only: %s",
            f"{SEARCHED:,}",
            error,
        )
