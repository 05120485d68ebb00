"""A real worker that stops itself (SIGSTOP) once in each phase of a run, before a transaction of that phase.

Run as a program. What is done to its database or its disk meanwhile, it meets when it is continued (SIGCONT).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import django
from django.core.management import call_command
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# For each phase, in order, the statement after which it has begun: its table, and a parameter of it.
PHASES = {
    "scanning": ('UPDATE "pipeline_job" SET "lease_token"', None),
    "indexing": ('UPDATE "pipeline_job" SET "phase"', "index"),
    "embedding": ('UPDATE "pipeline_job" SET "phase"', "embed"),
    "finishing": ('INSERT INTO "datasets_embeddingblock"', None),
}


def main() -> None:
    waiting = list(PHASES.values())
    is_due = False

    def stop(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        nonlocal is_due
        if threading.current_thread() is not threading.main_thread():
            return execute(sql, params, many, context)
        # On SQLite a transaction begins with a statement; on PostgreSQL the first of ours confirms the lease.
        if is_due and sql.startswith(("BEGIN", 'UPDATE "pipeline_job" SET "lease_until"')):
            is_due = False
            os.kill(os.getpid(), signal.SIGSTOP)
        result = execute(sql, params, many, context)
        if waiting and sql.startswith(waiting[0][0]) and (waiting[0][1] in (None, *(params or ()))):
            del waiting[0]
            is_due = True
        return result

    def prepare(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        if connection.vendor == "sqlite":  # a lock is noticed in a second, and not in 30
            connection.connection.execute("PRAGMA busy_timeout = 1000")
        if stop not in connection.execute_wrappers:
            connection.execute_wrappers.append(stop)

    connection_created.connect(prepare, weak=False)
    call_command("worker")


if __name__ == "__main__":
    django.setup()
    main()
