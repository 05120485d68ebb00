"""`manage.py worker`: process runs from the queue, and put runs of dead workers back into it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import uuid
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django_tasks_db.management.commands import db_worker

from apps.core.text import one_line
from apps.datasets.state_counts import add_up
from apps.notifications.sender_thread import send_often
from apps.pipeline.queue import admit_held, queue_resumed, sweep
from apps.pipeline.retries import take_retries
from apps.pipeline.schedules import begin_scheduled_runs
from apps.pipeline.work.cleanup import delete_leftover_chunks
from apps.pipeline.work.pool import kill_all
from apps.pipeline.work.removal import delete_forgotten_samples, prune, remove_deleted_datasets
from apps.pipeline.work.runner import stopping
from apps.progress import listening
from apps.progress.services import end_left_runs, end_lost_runs, note_lost_runs

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 0.25
BEGIN_SECONDS: Final = 0.25
REMOVE_SECONDS: Final = 2.0
PRUNE_SECONDS: Final = 3600.0
LONGEST_BACKOFF: Final = 30.0
SECONDS_TO_STOP: Final = 4.0


class Worker(db_worker.Worker):
    """The queue's own worker. It outlives errors of the database and the disk, and releases its run when it stops."""

    def shutdown(self, signum: int, frame: FrameType | None) -> None:
        stopping.set()
        super().shutdown(signum, frame)

    def run(self) -> None:
        """Process tasks until stopped. The queue's worker runs in batches: it returns when the queue is empty."""
        backoff = 0.0
        while self.running:
            try:
                super().run()
            except (Error, OSError) as error:
                connection.close()
                if not backoff:
                    logger.warning("cannot work, and will try again until it can: %s", one_line(error))
                backoff = min(2 * backoff or 1.0, LONGEST_BACKOFF)
            else:
                if backoff:
                    logger.warning("works again")
                backoff = 0.0
            stopping.wait(backoff or IDLE_SECONDS)


class Command(BaseCommand):
    help = "Process queued runs until stopped. Any number of workers may run, on any number of machines."

    def handle(self, **options: Any) -> None:
        worker = Worker(
            queue_names=["default"],
            excluded_queue_names=[],
            interval=IDLE_SECONDS,
            batch=True,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id=uuid.uuid4().hex,
        )
        db_worker.logger.setLevel(max(logging.WARNING, db_worker.logger.getEffectiveLevel()))  # a line for each look
        connection_created.connect(limit_standing_still)
        connection.close()
        worker.configure_signals()
        _stop_in_time()
        _sweep()
        threading.Thread(target=_sweep_often, name="sweeper", daemon=True).start()
        threading.Thread(target=send_often, args=(stopping,), name="notifications", daemon=True).start()
        threading.Thread(target=_begin_often, name="scheduler", daemon=True).start()
        threading.Thread(target=_remove_often, name="remover", daemon=True).start()
        logger.info("Starting worker %s", worker.worker_id)
        worker.run()


def limit_standing_still(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    """Receiver of ``connection_created``: a transaction whose worker stands still ends with the lease.

    It would hold its locks, and nobody could take the job.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            timeout = str(round(settings.LEASE_SECONDS * 1000))
            cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", [timeout])


def _stop_in_time() -> None:
    """End this process `SECONDS_TO_STOP` after a signal, whatever it and its processes do then.

    The descriptor is written to as the signal arrives, whereas a handler waits until the main thread runs Python code.
    A run that was not released goes on when its lease ends.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        with ours, theirs:
            while ours.recv(1)[0] not in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                pass
            stopping.set()
            time.sleep(SECONDS_TO_STOP)
            kill_all()
            os._exit(1)

    threading.Thread(target=wait, name="stop in time", daemon=True).start()


def _sweep_often() -> None:
    while not stopping.wait(settings.LEASE_SECONDS / 3):
        _sweep()
        connection.close()


def _sweep() -> None:
    try:
        listening.read()
        sweep()
        delete_leftover_chunks()
        end_left_runs()
        note_lost_runs()
        end_lost_runs()
    except (Error, OSError) as error:
        # The worker's own loop says in the log that the database is gone.
        logger.debug("could not sweep for dropped runs; the next sweep tries again: %s", one_line(error))


def _begin_often() -> None:
    """Queue the runs that people ask for, that they resume, and that are due."""
    while not stopping.wait(BEGIN_SECONDS):
        try:
            take_retries()
            queue_resumed()
            admit_held()
            begin_scheduled_runs()
        except (Error, OSError) as error:
            logger.debug("could not look for runs to begin; the next look finds them: %s", one_line(error))
        connection.close()


def _remove_often() -> None:
    """Remove what was deleted or is too old, and add up counts. In a thread of its own: it may take minutes."""
    prune_at = 0.0  # of the monotonic clock
    while not stopping.wait(REMOVE_SECONDS):
        try:
            add_up()
            remove_deleted_datasets(stopping)
            delete_forgotten_samples(stopping)
            if time.monotonic() >= prune_at:
                prune(stopping)
                prune_at = time.monotonic() + PRUNE_SECONDS
        except (Error, OSError) as error:
            logger.debug("could not remove what was deleted; the next attempt goes on: %s", one_line(error))
        connection.close()
