"""Workers do what operators ask to be done again, of datasets that are read from a folder."""

from __future__ import annotations

from contextlib import suppress

from django.db import transaction

from apps.progress import services as progress
from apps.progress.errors import RunUnfinished
from apps.progress.models import Head, Retry
from apps.progress.origin import Origin

from .models import Job
from .queue import enqueue
from .stages import STAGES


class _TakenByAnother(Exception):
    """Another worker has begun the run."""


def take_retries() -> int:
    """Begin and queue the runs that were asked for. Returns how many. Two workers at once begin each of them once."""
    asked = Head.objects.exclude(retry="").filter(dataset__source__isnull=False, dataset__deleted_at=None)
    taken = 0
    for head in asked.select_related("dataset"):
        with suppress(RunUnfinished, _TakenByAnother), transaction.atomic():
            run = progress.begin_run(head.dataset, STAGES, origin=Origin(by=head.retry_by))
            if not run.retry:
                raise _TakenByAnother
            enqueue(Job.objects.create(run=run, only_failed=run.retry == Retry.FAILED))
            taken += 1
    return taken
