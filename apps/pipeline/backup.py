"""Copies of an SQLite database, taken and put back while others use it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from django.db import connection

from apps.core.database_version import is_unknown
from apps.progress.models import Head, new_epoch

from .models import Job

# How long a copy waits for others who write.
TIMEOUT_SECONDS: Final = 30.0


class BackupRefused(Exception):
    """The copy cannot be made or put back. The text says why, for people."""


def back_up(file: Path) -> None:
    """Copy the database into ``file``, as it is at one moment. Others go on reading and writing.

    ``file`` is replaced once its copy is complete. Raises `BackupRefused`.
    """
    with _new_copy(_database(), file.parent) as copy:
        copy.replace(file)


def restore(file: Path) -> None:
    """Put a copy back in one transaction: whoever has the database open sees the copy from then on.

    Every dataset has another epoch then, and no worker holds a job. Raises `BackupRefused` for what is no copy of a
    database of this program, and for one of a later version.
    """
    database = _database()
    with _new_copy(file, database.parent) as copy:
        with closing(sqlite3.connect(copy)) as connected, connected:
            _check(connected, file)
            connected.execute(f"UPDATE {Head._meta.db_table} SET epoch = ?", [new_epoch()])  # noqa: S608 -- of models
            connected.execute(f"UPDATE {Job._meta.db_table} SET lease_token = '', lease_until = NULL")  # noqa: S608 -- of models
        _copy(copy, database)


def _database() -> Path:
    """Return the file of the database. Raises `BackupRefused` where it is no SQLite database."""
    if connection.vendor != "sqlite":
        raise BackupRefused("This is for SQLite. Use pg_dump and pg_restore, and then manage.py restored.")
    return Path(str(connection.settings_dict["NAME"]))


@contextmanager
def _new_copy(source: Path, folder: Path) -> Iterator[Path]:
    """Copy a database into a new file of ``folder``, readable for this user alone. It is deleted after the block."""
    if not source.is_file():
        raise BackupRefused(f"There is no file {source}.")
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".copy-", suffix=".sqlite3")
    except OSError as error:
        raise BackupRefused(f"Nothing can be written to {folder}: {error.strerror}.") from error
    os.close(handle)
    copy = Path(name)
    try:
        _copy(source, copy)
        with closing(sqlite3.connect(copy)) as connected:
            connected.execute("PRAGMA journal_mode = DELETE")  # one file
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a database into another, which others may have open. Raises `BackupRefused`."""
    try:
        with (
            closing(sqlite3.connect(source, timeout=TIMEOUT_SECONDS)) as ours,
            closing(sqlite3.connect(target, timeout=TIMEOUT_SECONDS)) as theirs,
        ):
            ours.backup(theirs)
    except sqlite3.Error as error:
        raise BackupRefused(f"{source} cannot be copied to {target}: {error}.") from error


def _check(copy: sqlite3.Connection, file: Path) -> None:
    try:
        [(found,)] = copy.execute("PRAGMA quick_check(1)")
        migrations = copy.execute("SELECT app, name FROM django_migrations").fetchall()
        copy.execute(f"SELECT epoch FROM {Head._meta.db_table} LIMIT 1")  # noqa: S608 -- of a model
    except sqlite3.Error as error:
        raise BackupRefused(f"{file} is no copy of a database of this program: {error}.") from error
    if found != "ok":
        raise BackupRefused(f"{file} is damaged: {found}.")
    for label, migration in migrations:
        if is_unknown(label, migration):
            raise BackupRefused(f"{file} is of a later version: it has the migration {label}.{migration}.")
