"""`manage.py worker`: process runs from the queue, and put runs of dead workers back into it."""

from __future__ import annotations

import logging
import threading
import uuid
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django_tasks_db.management.commands import db_worker

from apps.pipeline.queue import sweep
from apps.pipeline.work.cleanup import delete_leftover_chunks
from apps.pipeline.work.runner import stopping

logger = logging.getLogger(__name__)


class Worker(db_worker.Worker):
    """The queue's own worker. Asked to stop, it releases its run at the next chunk."""

    def shutdown(self, signum: int, frame: FrameType | None) -> None:
        stopping.set()
        super().shutdown(signum, frame)


class Command(BaseCommand):
    help = "Process queued runs until stopped. Any number of workers may run, on any number of machines."

    def handle(self, **options: Any) -> None:
        worker = Worker(
            queue_names=["default"],
            excluded_queue_names=[],
            interval=0.5,
            batch=False,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id=uuid.uuid4().hex,
        )
        worker.configure_signals()
        _sweep()
        threading.Thread(target=_sweep_often, name="sweeper", daemon=True).start()
        worker.run()


def _sweep_often() -> None:
    while not stopping.wait(settings.LEASE_SECONDS / 3):
        _sweep()
        connection.close()


def _sweep() -> None:
    try:
        sweep()
        delete_leftover_chunks()
    except DatabaseError:
        logger.warning("could not sweep for dropped runs; the next sweep tries again", exc_info=True)
