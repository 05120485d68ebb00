"""Plain SQL for the path of a report and of a poll, where the ORM's compiler costs more than the database.

The names of tables and columns and the conversions of values are the models'. What each function saves stands beside
it, in processor time on SQLite; ``python -m tests.bench.raw_sql`` measures it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import batched
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model, QuerySet
from django.db.models.base import ModelState

# The rows that one transaction deletes of what is not wanted any more.
ROWS_PER_DELETE: Final = 500
# The same of rows that are large, such as the vectors of a chunk: what is written to free them is theirs in size.
LARGE_ROWS_PER_DELETE: Final = 20
# The ids that one statement names. SQLite takes 32,766 parameters, PostgreSQL twice as many.
IDS_AT_ONCE: Final = 10_000
# The statements that are one message to PostgreSQL.
STATEMENTS_AT_ONCE: Final = 100

# What the databases take as it is. Every key that is referred to is a number.
_PLAIN = (
    models.CharField, models.TextField, models.IntegerField, models.FloatField, models.BooleanField, models.ForeignKey,
)  # fmt: skip


def rows_in[M: Model](
    model: type[M], column: str, values: Collection[Any], *, where: str = "", order: str = "", lock: bool = False
) -> list[M]:
    """Return the rows whose ``column`` is one of ``values``, ordered by the columns ``order``. No query for no values.

    More than `IDS_AT_ONCE` values are sorted and take several queries, each ordered by itself. ``where``: another
    condition. ``lock``: lock the rows, on a database that locks rows. With ``filter()`` in its place a report takes 3.3
    times as long, and each of a batch of a thousand 1.3 times.
    """
    if not values:
        return []
    if len(values) > IDS_AT_ONCE:
        batches = batched(sorted(values), IDS_AT_ONCE)
        return [row for some in batches for row in rows_in(model, column, some, where=where, order=order, lock=lock)]
    connection = connections[DEFAULT_DB_ALIAS]
    columns, names, converters = _reading(model, connection.vendor)
    marks = ", ".join(["%s"] * len(values))
    sql = f"SELECT {columns} FROM {model._meta.db_table} WHERE {column} IN ({marks})"  # noqa: S608 -- of models alone
    if where:
        sql += f" AND {where}"
    if order:
        sql += f" ORDER BY {order}"
    if lock and connection.features.has_select_for_update:
        sql += " FOR UPDATE"
    with connection.cursor() as cursor:
        cursor.execute(sql, tuple(values))
        rows = [list(row) for row in cursor.fetchall()]
    _convert(rows, converters)
    return [_instance(model, names, row) for row in rows]


def _instance[M: Model](model: type[M], names: Sequence[str], row: Sequence[Any]) -> M:
    """Return a row as `Model.from_db` does, which sets one attribute after the other and takes ten times as long.

    Only for all columns of a model, none of which sets more than its own attribute.
    """
    instance = model.__new__(model)
    state = ModelState()
    state.adding, state.db = False, DEFAULT_DB_ALIAS
    vars(instance).update(zip(names, row, strict=True), _state=state)
    return instance


def delete_some(*tables: QuerySet[Any], large: Collection[type[Model]] = ()) -> int:
    """Delete up to `ROWS_PER_DELETE` rows of the first table that has any. Returns how many; 0: all are empty.

    Of the models ``large``, fewer.

    Reads ids alone. Pass tables that refer to others before those.
    """
    for rows in tables:
        most = min(LARGE_ROWS_PER_DELETE, ROWS_PER_DELETE) if rows.model in large else ROWS_PER_DELETE
        if pks := list(rows.order_by().values_list("pk", flat=True)[:most]):
            rows.model._base_manager.filter(pk__in=pks).only("pk").delete()
            return len(pks)
    return 0


class Statement:
    """A query whose SQL is compiled once, to be run with different values in place of the parameter ``stand_in``.

    ``query`` is one of `values_list()`. Raises `ValueError` if the stand-in is not among its parameters. Compiling the
    query each time makes a poll take 4.6 times as long, and a hub's read of one dataset 3.7 times.
    """

    def __init__(self, query: QuerySet[Any, tuple[Any, ...]], stand_in: object) -> None:
        compiler = query.query.get_compiler(connection=connections[DEFAULT_DB_ALIAS])
        self._sql, parameters = compiler.as_sql()
        self._parameters = list(parameters)
        self._place = self._parameters.index(stand_in)
        self._converters = _converters([column for column, _, _ in compiler.select], compiler.connection)

    def rows(self, value: object) -> list[list[Any]]:
        connection = connections[DEFAULT_DB_ALIAS]
        parameters = self._parameters.copy()
        parameters[self._place] = value
        with connection.cursor() as cursor:
            cursor.execute(self._sql, parameters)
            rows = [list(row) for row in cursor.fetchall()]
        _convert(rows, self._converters)
        return rows


@dataclass(frozen=True, slots=True)
class Update:
    """Rows of one table whose fields ``names`` are to be written, if the field ``guard`` still is what it ``was``."""

    rows: Sequence[Model]
    names: frozenset[str]
    guard: str
    was: Sequence[object]

    def statement(self, connection: BaseDatabaseWrapper) -> tuple[str, list[tuple[Any, ...]]]:
        """Return the SQL, and its parameters for each row."""
        sql, fields, guard = _writing(type(self.rows[0]), self.names, self.guard)
        return sql, [
            (*_parameters(row, fields, connection), row.pk, _parameter(guard, before, connection))
            for row, before in zip(self.rows, self.was, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Put:
    """New rows of one table. Each takes the place of the row that has the same ``key``, if there is one."""

    rows: Sequence[Model]
    key: tuple[str, ...]

    def statement(self, connection: BaseDatabaseWrapper) -> tuple[str, list[tuple[Any, ...]]]:
        """Return the SQL, and its parameters for each row."""
        sql, fields = _putting(type(self.rows[0]), self.key)
        return sql, [_parameters(row, fields, connection) for row in self.rows]


def write_rows(writes: Iterable[Update | Put]) -> bool:
    """Write rows in order. Returns whether every guard still was what it was.

    Several writes of one row each are one round trip on PostgreSQL, where waiting costs more than the work. With
    ``update()`` for each row in its place a report takes 2.0 times as long and each of a batch of a thousand 5.0 times;
    with ``bulk_update()``, which makes a CASE of all rows for each field, 4.0 and 7.5 times.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    statements = [write.statement(connection) for write in writes if write.rows]
    return execute_rows(statements) == sum(len(rows) for _, rows in statements)


def execute_rows(statements: Iterable[tuple[str, Sequence[tuple[Any, ...]]]]) -> int:
    """Run each statement once for each row of its parameters, in order. Returns how many rows they wrote.

    On PostgreSQL many are one message. Not by ``executemany()`` of psycopg: its pipeline ends with a message that stops
    the server's ``idle_in_transaction_session_timeout`` until the next statement, and a worker that stands still before
    that would keep its locks.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    written = 0
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            for sql, rows in statements:
                cursor.executemany(sql, rows)
                written += cursor.rowcount
            return written
        for some in batched(((sql, row) for sql, rows in statements for row in rows), STATEMENTS_AT_ONCE):
            cursor.execute("; ".join(sql for sql, _ in some), [value for _, row in some for value in row])
            written += cursor.rowcount
            while cursor.nextset():
                written += cursor.rowcount
    return written


@cache
def _reading(model: type[Model], vendor: str) -> tuple[str, list[str], Mapping[int, Callable[[Any], Any]]]:
    """Return the columns of a table, the names of their attributes, and the converters of `_converters`."""
    fields = model._meta.concrete_fields
    columns = [field.get_col(model._meta.db_table) for field in fields]
    converters = _converters(columns, connections[DEFAULT_DB_ALIAS])
    return ", ".join(str(field.column) for field in fields), [field.attname for field in fields], converters


def _converters(columns: Iterable[Any], connection: BaseDatabaseWrapper) -> dict[int, Callable[[Any], Any]]:
    """Return by index what makes the attribute's value of a column's, where they differ. NULL is None."""
    converters = {index: _converter(column, connection) for index, column in enumerate(columns)}
    return {index: convert for index, convert in converters.items() if convert is not None}


def _converter(column: Any, connection: BaseDatabaseWrapper) -> Callable[[Any], Any] | None:
    """Return the converter of a column: Django's, or one that does the same in a tenth of the time."""
    field = column.output_field
    if isinstance(field, models.JSONField) and field.decoder is None:
        return json.loads
    if isinstance(field, models.DateTimeField) and connection.vendor == "sqlite":
        return lambda moment: moment.replace(tzinfo=UTC)  # `TIME_ZONE` of the connection is not set
    django = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]

    def convert(value: Any) -> Any:
        for each in django:
            value = each(value, column, connection)
        return value

    return convert if django else None


def _convert(rows: Iterable[list[Any]], converters: Mapping[int, Callable[[Any], Any]]) -> None:
    for row in rows:
        for index, convert in converters.items():
            if row[index] is not None:
                row[index] = convert(row[index])


@cache
def _writing(
    model: type[Model], names: frozenset[str], guard: str
) -> tuple[str, list[Field[Any, Any]], Field[Any, Any]]:
    """Return the statement that writes fields of a row, those fields, and the guard's field."""
    known = {field.name: field for field in model._meta.concrete_fields}
    fields = [known[name] for name in sorted(names)]
    columns = ", ".join(f"{field.column} = %s" for field in fields)
    key = model._meta.pk.column
    sql = f"UPDATE {model._meta.db_table} SET {columns} WHERE {key} = %s AND {known[guard].column} = %s"  # noqa: S608 -- names of a model
    return sql, fields, known[guard]


@cache
def _putting(model: type[Model], key: tuple[str, ...]) -> tuple[str, list[Field[Any, Any]]]:
    """Return the statement that inserts a row or replaces the one with the same key, and the fields that it writes."""
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(str(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    keys = [str(field.column) for field in fields if field.name in key]
    others = ", ".join(f"{field.column} = excluded.{field.column}" for field in fields if field.name not in key)
    table = model._meta.db_table
    sql = f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {others}"  # noqa: S608 -- names of a model
    return sql, fields


def _parameters(row: Model, fields: Iterable[Field[Any, Any]], connection: BaseDatabaseWrapper) -> tuple[Any, ...]:
    return tuple(_parameter(field, getattr(row, field.attname), connection) for field in fields)


def _parameter(field: Field[Any, Any], value: object, connection: BaseDatabaseWrapper) -> Any:
    if value is None or isinstance(field, _PLAIN):
        return value
    if isinstance(value, datetime):  # as Django writes it, without six calls a value
        return str(value.astimezone(UTC).replace(tzinfo=None)) if connection.vendor == "sqlite" else value
    return field.get_db_prep_save(value, connection)
