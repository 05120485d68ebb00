"""Before a process does anything: check its settings, its database and its Redis, and say in one line what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Any, Final, NoReturn

from django.core.exceptions import ImproperlyConfigured
from environs import EnvError

from apps.core.text import printable

USAGE = 2  # the exit status of a mistake that the person who started the process can correct

# The commands of `manage.py` that need the tables, and tell others of what they write.
SERVING: Final = {"worker", "process", "create_token"}
UNMIGRATED: Final = (
    "The database lacks tables of this version. Run `manage.py migrate`. "
    "If that does not help, it was made before release 0.1.0: move or delete it, and start again."
)
REDIS_SECONDS: Final = 5.0
# How long a web process waits for the database: for a lock, a statement, a server that does not answer, a connection.
# Together with the time of the request itself they stay below the 5 s within which a client is told to come later.
LOCK_SECONDS: Final = 4.0
STATEMENT_SECONDS: Final = 4.1
ANSWER_SECONDS: Final = 4.2
CONNECT_SECONDS: Final = 2


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a mistake in the configuration as one line, without a traceback, and exit with status 2.

    The same for a database that cannot be used, or that lacks tables. Other errors pass.
    """
    from django.db import DatabaseError, InterfaceError

    try:
        yield
    except (ImproperlyConfigured, EnvError) as error:
        _exit(str(error))
    except (DatabaseError, InterfaceError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        _exit(reason)


def raise_open_files_limit() -> None:
    """Let this process have as many open files and sockets as the system allows it."""
    _, hard = getrlimit(RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems call the limit infinite and refuse it
        setrlimit(RLIMIT_NOFILE, (hard, hard))


def check_services(*, migrated: bool = True) -> None:
    """Connect once to the database, which checks its version, and to Redis. Raises `ImproperlyConfigured`.

    ``migrated``: also refuse a database on which a migration is left to be applied.
    """
    # In a thread: Uvicorn imports the application in its event loop, where Django allows no query.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_check_database, migrated=migrated).result()
    _check_redis()


def check_command(arguments: Sequence[str]) -> None:
    """Check the services for a command of `manage.py` that needs them. Raises `ImproperlyConfigured`."""
    import django

    if SERVING.intersection(arguments[1:2]) and not {"-h", "--help"}.intersection(arguments):
        django.setup()
        check_services()


def limit_waiting() -> None:
    """Have the database of this process answer or fail within seconds. For web processes: people wait for them."""
    from django.db import connections
    from django.db.backends.signals import connection_created

    options: dict[str, Any] = connections.settings["default"].setdefault("OPTIONS", {})
    if connections["default"].vendor == "sqlite":
        options["timeout"] = LOCK_SECONDS
    else:
        options |= {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": CONNECT_SECONDS * 1000}
        connection_created.connect(_limit_postgresql, dispatch_uid="startup.limit_postgresql")


def _limit_postgresql(connection: Any, **kwargs: object) -> None:
    """Have the server end what takes too long, and give up a connection over which it does not even say that.

    A server that is frozen, with its machine or alone, keeps its connections and says nothing.
    """
    import psycopg
    from django.db import OperationalError

    raw = connection.connection
    wait = raw.wait  # all that is asked goes through it

    def wait_in_time(*args: Any, **options: Any) -> Any:
        try:
            return wait(*args, **{"timeout": ANSWER_SECONDS, **options})
        except psycopg.Error:
            # A connection whose answer was not waited for can be asked nothing more.
            if raw.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                raw.close()
                # An error of Django's own: after one of psycopg's, a check of the connection would connect anew.
                raise OperationalError("The database does not answer.") from None
            raise

    raw.wait = wait_in_time
    limits = {"lock_timeout": LOCK_SECONDS, "statement_timeout": STATEMENT_SECONDS}
    with connection.cursor() as cursor:
        for name, seconds in limits.items():
            cursor.execute("SELECT set_config(%s, %s, false)", [name, str(round(seconds * 1000))])


def _check_database(*, migrated: bool) -> None:
    from django.db import Error, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        connection.ensure_connection()
        if migrated:
            executor = MigrationExecutor(connection)
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                raise ImproperlyConfigured(UNMIGRATED)
    except Error as error:
        raise ImproperlyConfigured(_reason(error) or f"The database cannot be used: {error}") from error
    finally:
        connection.close()


def _check_redis() -> None:
    from django.conf import settings

    if not settings.REDIS_URL:
        return
    import redis

    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_connect_timeout=REDIS_SECONDS, socket_timeout=REDIS_SECONDS
        ) as server:
            server.ping()
    except redis.RedisError as error:
        raise ImproperlyConfigured(f"The Redis server of REDIS_URL cannot be used: {error}") from error


def _reason(error: Exception) -> str | None:
    """Return what is wrong with the database, None where it is a fault of the program."""
    from apps.core.outages import is_outage, lacks_tables

    if lacks_tables(error):
        return UNMIGRATED
    return f"The database cannot be used: {error}" if is_outage(error) else None


def _exit(reason: str) -> NoReturn:
    print(printable(" ".join(reason.split())), file=sys.stderr)
    raise SystemExit(USAGE) from None
