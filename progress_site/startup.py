"""Before a process does anything: check its settings and its database, and say what is wrong with them in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from django.core.exceptions import ImproperlyConfigured
from environs import EnvError

from apps.core.text import printable

USAGE = 2  # the exit status of a mistake that the person who started the process can correct


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a mistake in the configuration as one line, without a traceback, and exit with status 2."""
    try:
        yield
    except (ImproperlyConfigured, EnvError) as error:
        print(printable(" ".join(str(error).split())), file=sys.stderr)
        raise SystemExit(USAGE) from None


def check_database() -> None:
    """Connect to the database once, which checks its version. Raises `ImproperlyConfigured`.

    A database that does not answer is no mistake: the server starts, and connects when the database is back.
    """
    # In a thread: Uvicorn imports the application in its event loop, where Django allows no query.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_connect).result()


def _connect() -> None:
    from django.db import DatabaseError, connection

    with suppress(DatabaseError):
        connection.ensure_connection()
    connection.close()
