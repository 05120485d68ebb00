"""Leases: one worker at a time, renewed while it lives, lost when another takes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.tasks.base import TaskResultStatus
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from apps.datasets.models import Sample
from apps.pipeline.models import Job
from apps.pipeline.queue import sweep
from apps.pipeline.services import process_folder
from apps.pipeline.work.lease import Lease
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_worker_whose_lease_was_taken_writes_nothing_more(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, dataset_id="cats")

    def take_over(shown: DatasetProgress) -> None:
        if shown.current == 32:
            Job.objects.filter(pk=run.pk).update(lease_token="another's")

    on_change(take_over)
    assert Runner(run.pk).process() is Outcome.SUPERSEDED
    assert Sample.objects.count() == 32
    assert Job.objects.get(pk=run.pk).lease_token == "another's"


def test_run_that_another_worker_has_is_left_alone(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 40)
    run = process_folder(folder, dataset_id="cats")
    others: list[Outcome] = []
    # Which of the two chunks of 32 and 8 is done first is up to the pool.
    on_change(lambda shown: others.append(Runner(run.pk).process()) if 0 < shown.current < 40 else None)
    assert Runner(run.pk).process() is Outcome.READY
    assert set(others) == {Outcome.SUPERSEDED}


def test_worker_whose_clock_is_ahead_takes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(folder, 1)
    run = process_folder(folder, dataset_id="cats")
    DBTaskResult.objects.update(status=TaskResultStatus.RUNNING, started_at=timezone.now())
    assert Lease(run.pk).acquire()
    ahead = timezone.now() + timedelta(seconds=60)
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert not Lease(run.pk).acquire()
    assert sweep() == 0
    Job.objects.update(lease_token="", lease_until=None)  # its worker has taken the task, and not yet the lease
    assert sweep() == 0


def test_lease_is_renewed_while_a_chunk_takes_longer_than_it(
    folder: Path, settings: Settings, on_change: Callable[..., None]
) -> None:
    make_images(folder, 40)
    settings.LEASE_SECONDS = 0.4
    run = process_folder(folder, dataset_id="cats")
    leases: list[Any] = []

    def take_long(shown: DatasetProgress) -> None:
        if 0 < shown.current < 40:
            first = Job.objects.values_list("lease_until").get(pk=run.pk)
            renewed = Job.objects.filter(pk=run.pk, lease_until__gt=first[0])
            wait_until(renewed.exists, seconds=30, what="the lease was not renewed")
            leases.append(first)

    on_change(take_long)
    assert Runner(run.pk).process() is Outcome.READY
    assert leases
