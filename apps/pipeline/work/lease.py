"""How a worker holds a job: a claim that every commit compares, and a lease that a thread of its own renews."""

from __future__ import annotations

import logging
import threading
import uuid
from datetime import timedelta
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Q
from django.utils import timezone

from apps.pipeline.models import Job
from apps.progress import services as progress

logger = logging.getLogger(__name__)


class Superseded(Exception):
    """Another worker has the job, or it is gone: nothing more may be written for it."""


class Claim:
    """A context in which this worker has a job, if it got it: `held` says so.

    The thread says that the worker lives even while a chunk takes minutes. A worker that was frozen for longer than
    its lease (a suspended machine) finds its claim gone at its next commit.
    """

    def __init__(self, run_pk: int) -> None:
        self.run_pk = run_pk
        self.token = uuid.uuid4().hex
        self.held = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease of run {run_pk}", daemon=True)

    def __enter__(self) -> Self:
        free = Q(claim="") | Q(lease_until__lt=timezone.now())
        self.held = bool(Job.objects.filter(free, pk=self.run_pk).update(claim=self.token, lease_until=self._until()))
        if self.held:
            progress.heartbeat(self.run_pk)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.held:
            self._over.set()
            self._thread.join()
            Job.objects.filter(pk=self.run_pk, claim=self.token).update(claim="", lease_until=None)

    def confirm(self) -> None:
        """Lock the job for the transaction under way. Raises `Superseded` where the claim is another's."""
        if not Job.objects.filter(pk=self.run_pk, claim=self.token).update(lease_until=self._until()):
            raise Superseded

    def _until(self) -> object:
        return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)

    def _beat(self) -> None:
        try:
            while not self._over.wait(settings.LEASE_SECONDS / 4):
                try:
                    Job.objects.filter(pk=self.run_pk, claim=self.token).update(lease_until=self._until())
                    progress.heartbeat(self.run_pk)
                except DatabaseError:
                    # The next beat tries again; if none gets through, the lease runs out, as it should.
                    logger.warning("the lease of run %s could not be renewed", self.run_pk, exc_info=True)
                    connection.close()
        finally:
            connection.close()
