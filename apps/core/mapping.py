"""SQLite maps its file into memory, up to 128 MB for each connection. Pages that were read stay there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def unmapped() -> Iterator[None]:
    """Read what is asked within without mapping the database, for who reads much of it once.

    Several such readers would make the process larger by the whole database each.
    """
    connection.ensure_connection()
    if connection.vendor != "sqlite":
        yield
        return
    size = _mapped()
    _map(0)
    try:
        yield
    finally:
        _map(size)


def _mapped() -> int:
    row = connection.connection.execute("PRAGMA mmap_size").fetchone()
    return row[0] if row else 0  # a database in memory has none


def _map(size: int) -> None:
    connection.connection.execute(f"PRAGMA mmap_size={size:d}")
