"""Leases: how a worker holds a job, and how it stops writing once another worker has it.

A worker takes a free job by writing its token and the end of its lease into the row. A thread renews the lease while
the worker lives. Whatever a worker writes for a job it writes in a `Lease.transaction`, which begins by confirming the
lease.

Ends of leases are set and compared by the clock of the database. The clocks of the workers do not matter.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import DateTimeField, Expression, ExpressionWrapper, Q, Value
from django.db.models.functions import Now

from apps.core.text import one_line
from apps.pipeline.batch_limits import has_place
from apps.pipeline.models import Job
from apps.progress import services as progress
from apps.progress.transitions import UNFINISHED

logger = logging.getLogger(__name__)


# How often a worker gives a sign of life at least.
SIGN_SECONDS: Final = 5.0

_unreleased: list[Lease] = []


class LeaseLost(Exception):
    """Another worker holds the job, or the job is gone. Nothing more may be written for it."""


class Lease:
    """This worker's hold on the job of a run."""

    def __init__(self, run_pk: int) -> None:
        self.run_pk = run_pk
        self.token = uuid.uuid4().hex

    def acquire(self) -> bool:
        """Take the job if its run is unfinished, no other lease on it is in force, and its batches have a place for it.

        Returns whether it did. A job without a place is held until there is one.
        """
        free = Q(lease_token="") | Q(lease_until__lt=Now())
        jobs = Job.objects.filter(free, pk=self.run_pk, run__state__in=UNFINISHED, run__dataset__deleted_at=None)
        with transaction.atomic():
            if not jobs.filter(is_held=False).update(lease_token=self.token, lease_until=_new_end()):
                return False
            if has_place(self.run_pk):
                return True
            Job.objects.filter(pk=self.run_pk).update(lease_token="", lease_until=None, is_held=True)
            return False

    @contextmanager
    def transaction(self, *, progressed: bool = False) -> Iterator[None]:
        """A transaction that confirms the lease before anything else. Raises `LeaseLost`.

        It locks the job until it ends, so that no other worker takes the job in the middle of it. ``progressed``: it
        writes what no later attempt has to do again.
        """
        with transaction.atomic():
            self.confirm(progressed=progressed)
            yield

    def confirm(self, *, progressed: bool = False) -> None:
        """Renew the lease, which locks the job until the transaction ends. Raises `LeaseLost`."""
        changes: dict[str, Any] = {"lease_until": _new_end()}
        if progressed:
            changes["attempts"] = 0
        if not Job.objects.filter(pk=self.run_pk, lease_token=self.token).update(**changes):
            raise LeaseLost

    def release(self) -> None:
        """Free the job for other workers, if it is still ours."""
        Job.objects.filter(pk=self.run_pk, lease_token=self.token).update(lease_token="", lease_until=None)


@contextmanager
def hold(run_pk: int) -> Iterator[Lease | None]:
    """Hold the job of a run, and renew the lease in a thread. Yields ``None`` if it cannot be taken (`acquire`).

    The thread keeps the lease alive while a chunk takes minutes. A worker that was suspended for longer than its lease
    gets `LeaseLost` at its next commit.
    """
    lease = Lease(run_pk)
    if not lease.acquire():
        yield None
        return
    released = threading.Event()
    thread = threading.Thread(target=_keep_renewing, args=(lease, released), name=f"lease of run {run_pk}", daemon=True)
    thread.start()
    try:
        yield lease
    except Error:
        connection.close()  # so that the lease is released over another
        raise
    finally:
        released.set()
        thread.join()
        try:
            lease.release()
        except Error as error:
            connection.close()
            logger.warning("the lease of run %s was not released: %s", run_pk, one_line(error))
            # Left to end, it would count as that of a lost worker.
            _unreleased.append(lease)


def release_late() -> None:
    """Release the leases that this process could not release before, because the database was gone."""
    while _unreleased:
        lease = _unreleased[0]
        lease.release()
        with suppress(ValueError):  # another thread was quicker
            _unreleased.remove(lease)


def _new_end() -> Expression:
    """The end of a lease that is taken or renewed now, by the clock of the database."""
    return ExpressionWrapper(Now() + Value(timedelta(seconds=settings.LEASE_SECONDS)), output_field=DateTimeField())


def _keep_renewing(lease: Lease, released: threading.Event) -> None:
    try:
        wait = 0.0  # a sign of life at once: the first chunk may take long
        while not released.wait(wait):
            wait = min(settings.LEASE_SECONDS / 4, SIGN_SECONDS)
            try:
                with lease.transaction():
                    progress.heartbeat(lease.run_pk)
            except LeaseLost:
                return
            except Error as error:
                # Try again in a moment. If the database stays away, the lease ends, as it should.
                logger.warning("could not renew the lease of run %s: %s", lease.run_pk, one_line(error))
                connection.close()
    finally:
        connection.close()
