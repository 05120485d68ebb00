"""Rows of a table, read and written many at a time, without the ORM's compiler.

A report costs the server some ten statements, and building each of them takes the ORM three times as long as the
database needs to run it; `bulk_update` makes a CASE of all rows for each field, a hundred times as long. So the path
of a report is written in SQL of the plainest kind. Names of tables and columns are those of the models.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model


def rows_in[M: Model](
    model: type[M], column: str, values: Collection[object], *, order: str = "", lock: bool = False
) -> list[M]:
    """The rows whose ``column`` is one of ``values``, in the order of the columns ``order``; locked where a database
    locks rows. No query for no values.
    """
    if not values:
        return []
    connection = connections[DEFAULT_DB_ALIAS]
    marks = ", ".join(["%s"] * len(values))
    sql = f"SELECT * FROM {model._meta.db_table} WHERE {column} IN ({marks})"  # noqa: S608 -- names of models alone
    if order:
        sql += f" ORDER BY {order}"
    if lock and connection.features.has_select_for_update:
        sql += " FOR UPDATE"
    return list(model._default_manager.raw(sql, tuple(values)))


def update_rows(rows: Sequence[Model], names: Collection[str], guard: str, was: Sequence[object]) -> bool:
    """Write fields of rows where the field ``guard`` is still what it ``was``; whether it was, for all of them."""
    if not rows:
        return True
    connection = connections[DEFAULT_DB_ALIAS]
    meta = rows[0]._meta
    known = {field.name: field for field in meta.concrete_fields}
    fields, guarded = [known[name] for name in sorted(names)], known[guard]
    columns = ", ".join(f"{field.column} = %s" for field in fields)
    key = meta.pk.column if meta.pk else None
    sql = f"UPDATE {meta.db_table} SET {columns} WHERE {key} = %s AND {guarded.column} = %s"  # noqa: S608 -- as above
    parameters: list[tuple[Any, ...]] = [
        (
            *(field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields),
            row.pk,
            guarded.get_db_prep_save(before, connection),
        )
        for row, before in zip(rows, was, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(sql, parameters)
        return bool(cursor.rowcount == len(rows))
