"""Errors of the database that pass: it is locked, full or gone, or two transactions wait for each other."""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

from django.db import Error, InterfaceError, OperationalError

from .text import one_line

# What a client is asked to wait before it tries again, in seconds.
RETRY_AFTER_SECONDS: Final = 3

_SQLITE_PASSING: Final = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip
_DEADLOCKS: Final = {"40P01", "40001"}
# A table or column that is not there: of SQLite by its text, because all errors of a statement have one code.
_MISSING: Final = {"42P01", "42703"}
_SQLITE_MISSING: Final = ("no such table", "no such column", "has no column named")


def is_outage(error: BaseException | None) -> bool:
    """Return whether an error of the database passes, so that the same request may succeed later."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        # The low byte is the code; the others say more about it.
        return getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _SQLITE_PASSING
    return True


def is_deadlock(error: BaseException) -> bool:
    """Return whether the database has ended a transaction for the sake of another. All of it was rolled back."""
    return _sqlstate(error) in _DEADLOCKS


def lacks_tables(error: BaseException) -> bool:
    """Return whether a statement named a table or a column that the database does not have."""
    if isinstance(error.__cause__, sqlite3.Error):
        return any(text in str(error) for text in _SQLITE_MISSING)
    return _sqlstate(error) in _MISSING


def _sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error."""
    return getattr(error.__cause__, "sqlstate", None) if isinstance(error, Error) else None


class OutageInOneLine(logging.Filter):
    """Says in one line why a record is about an outage: its traceback leads to no fault of the program."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and is_outage(error):
            record.msg, record.args = f"{record.getMessage()}: {one_line(error)}", ()
            record.exc_info = record.exc_text = None
        return True
