"""Search for a part of a text in the names and IDs of datasets.

On PostgreSQL an index of trigrams finds it in any number of datasets, where the database has the extension `pg_trgm`.
Elsewhere the search stops at a bound, because it would have to read them all.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from django.apps import AppConfig
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import Q, QuerySet

from .models import Dataset

logger = logging.getLogger(__name__)

# Without the index, this many datasets are searched: those that changed last.
SEARCHED: Final = 20_000
# How many of those that match are found.
MOST_FOUND: Final = 1_000

_INDEX: Final = "dataset_by_parts"
# A shorter text has no trigram, so the index would be read from end to end.
_TRIGRAM: Final = 3
# The expressions are those of Django's ``icontains``.
_CREATE_INDEX: Final = f"""
    CREATE INDEX IF NOT EXISTS {_INDEX} ON datasets_dataset
    USING gin (UPPER(dataset_id::text) gin_trgm_ops, UPPER(name::text) gin_trgm_ops) WHERE deleted_at IS NULL
"""


class Found(NamedTuple):
    """The row ids of datasets that match, and whether there may be more than are found.

    ``searched_all`` is False where only the `SEARCHED` datasets that changed last were looked through. Even then a
    whole ID or name is found among all.
    """

    dataset_pks: list[int]
    has_more: bool
    searched_all: bool


def find(datasets: QuerySet[Dataset], text: str) -> Found:
    """Find the datasets that have ``text`` in their ID or name, in any case; at most `MOST_FOUND`, the latest."""
    latest = datasets.order_by("-changed_at", "-pk")
    # The first that is not searched; None: all are.
    bound = None
    if len(text) < _TRIGRAM or not _has_index():
        bound = latest.values_list("changed_at", "pk")[SEARCHED : SEARCHED + 1].first()
    searched = datasets
    if bound is not None:
        changed_at, pk = bound
        searched = datasets.filter(Q(changed_at__gt=changed_at) | Q(pk__gt=pk), changed_at__gte=changed_at)
    parts = searched.filter(Q(dataset_id__icontains=text) | Q(name__icontains=text))
    found = list(parts.order_by("-changed_at", "-pk").values_list("pk", flat=True)[: MOST_FOUND + 1])
    has_more = len(found) > MOST_FOUND
    found = found[:MOST_FOUND]
    if bound is not None:
        found += datasets.filter(dataset_id=text).values_list("pk", flat=True)
        found += datasets.filter(sort_name=text.lower()).order_by("pk").values_list("pk", flat=True)[:MOST_FOUND]
    return Found(list(dict.fromkeys(found)), has_more, searched_all=bound is None)


def _has_index() -> bool:
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [_INDEX])
        return bool(cursor.fetchone()[0])


def create_index(sender: AppConfig | None, using: str, **_: Any) -> None:
    """Create the index of trigrams on PostgreSQL, after each migration: its extension may be there only later.

    A role that may create objects in its database may create the extension too.
    """
    if connections[using].vendor != "postgresql":
        return
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            cursor.execute(_CREATE_INDEX)
    except DatabaseError as error:
        logger.warning("Searches look through %s datasets only, because pg_trgm is missing: %s", f"{SEARCHED:,}", error)
