"""Attempts at a run that end without progress. After `MAX_ATTEMPTS` in a row, the run ends in error."""

from __future__ import annotations

from typing import Final

from django.db.models import F

from apps.pipeline.models import Job
from apps.progress import services as progress

MAX_ATTEMPTS: Final = 5


def count_attempt(run_pk: int, reason: str, note: str = "") -> bool:
    """Count an attempt that ended because of ``reason``, within the caller's transaction. ``note``: as of `fail`.

    Returns whether it was the last, and the run has ended. Progress sets the count back to 0 (`Lease.transaction`).
    Raises `RunFinished`.
    """
    jobs = Job.objects.filter(pk=run_pk)
    jobs.update(attempts=F("attempts") + 1)
    if jobs.values_list("attempts", flat=True).get() < MAX_ATTEMPTS:
        return False
    progress.fail(run_pk, f"{MAX_ATTEMPTS} attempts in a row ended without progress. {reason}", note=note)
    return True
