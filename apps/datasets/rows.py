"""Rows of a table, read and written many at a time, without the ORM's compiler.

A report costs the server some ten statements, and building each of them takes the ORM three times as long as the
database needs to run it; `bulk_update` makes a CASE of all rows for each field, a hundred times as long. So the path
of a report is written in SQL of the plainest kind. Names of tables and columns are those of the models, and so are
the conversions of values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model

# What the databases take as it is.
_PLAIN = (models.CharField, models.TextField, models.IntegerField, models.FloatField, models.BooleanField)


def rows_in[M: Model](
    model: type[M], column: str, values: Collection[Any], *, order: str = "", lock: bool = False
) -> list[M]:
    """The rows whose ``column`` is one of ``values``, in the order of the columns ``order``; locked where a database
    locks rows. No query for no values.
    """
    if not values:
        return []
    connection = connections[DEFAULT_DB_ALIAS]
    columns, names, converters = _reading(model, connection.vendor)
    marks = ", ".join(["%s"] * len(values))
    sql = f"SELECT {columns} FROM {model._meta.db_table} WHERE {column} IN ({marks})"  # noqa: S608 -- of models alone
    if order:
        sql += f" ORDER BY {order}"
    if lock and connection.features.has_select_for_update:
        sql += " FOR UPDATE"
    with connection.cursor() as cursor:
        cursor.execute(sql, tuple(values))
        rows = [list(row) for row in cursor.fetchall()]
    for index, convert, expression in converters:
        for row in rows:
            row[index] = convert(row[index], expression, connection)
    return [model.from_db(DEFAULT_DB_ALIAS, names, row) for row in rows]


def update_rows(rows: Sequence[Model], names: Collection[str], guard: str, was: Sequence[object]) -> bool:
    """Write fields of rows where the field ``guard`` is still what it ``was``; whether it was, for all of them."""
    if not rows:
        return True
    connection = connections[DEFAULT_DB_ALIAS]
    sql, fields, guarded = _writing(type(rows[0]), frozenset(names), guard)
    parameters = [
        (
            *(_parameter(field, getattr(row, field.attname), connection) for field in fields),
            row.pk,
            _parameter(guarded, before, connection),
        )
        for row, before in zip(rows, was, strict=True)
    ]
    with connection.cursor() as cursor:
        if len(parameters) == 1:
            cursor.execute(sql, parameters[0])  # which PostgreSQL's driver sends in one go, and not in a pipeline
        else:
            cursor.executemany(sql, parameters)
        return bool(cursor.rowcount == len(rows))


@cache
def _reading(model: type[Model], vendor: str) -> tuple[str, list[str], list[tuple[int, Callable[..., Any], Any]]]:
    """The columns of a table, the attributes they are, and Django's converters of some of them."""
    connection = connections[DEFAULT_DB_ALIAS]
    fields = model._meta.concrete_fields
    converters = [
        (index, convert, column)
        for index, column in enumerate(field.get_col(model._meta.db_table) for field in fields)
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
    ]
    return ", ".join(str(field.column) for field in fields), [field.attname for field in fields], converters


@cache
def _writing(
    model: type[Model], names: frozenset[str], guard: str
) -> tuple[str, list[Field[Any, Any]], Field[Any, Any]]:
    """The statement that writes fields of a row, those fields, and the guard."""
    known = {field.name: field for field in model._meta.concrete_fields}
    fields = [known[name] for name in sorted(names)]
    columns = ", ".join(f"{field.column} = %s" for field in fields)
    key = model._meta.pk.column
    sql = f"UPDATE {model._meta.db_table} SET {columns} WHERE {key} = %s AND {known[guard].column} = %s"  # noqa: S608
    return sql, fields, known[guard]


def _parameter(field: Field[Any, Any], value: object, connection: BaseDatabaseWrapper) -> Any:
    return value if isinstance(field, _PLAIN) else field.get_db_prep_save(value, connection)
