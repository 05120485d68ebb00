"""No work is repeated for ever: attempts that end without progress are counted, and what passes by itself is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.tasks.base import TaskResultStatus
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from apps.pipeline.models import Job
from apps.pipeline.queue import sweep
from apps.pipeline.services import process_folder
from apps.pipeline.work import lease
from apps.pipeline.work.attempts import MAX_ATTEMPTS
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.models import Run
from apps.progress.selectors import failure_note, progress_of
from tests.images import make_images

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def refusing(error: DatabaseError, *, words: str) -> Iterator[None]:
    """A database that refuses each statement with ``words``."""

    def refuse(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if words in sql:
            raise error
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse):
        yield


@pytest.fixture
def run(folder: Path) -> Run:
    make_images(folder, 40)
    return process_folder(folder, dataset_id="cats")


def attempts(run: Run) -> int:
    return Job.objects.get(pk=run.pk).attempts


def test_run_that_the_database_refuses_again_and_again_ends_in_error(run: Run) -> None:
    with refusing(DatabaseError("too many SQL variables"), words='INSERT INTO "pipeline_chunk"'):
        outcomes = [Runner(run.pk).process() for _ in range(MAX_ATTEMPTS)]
    assert outcomes == [Outcome.RELEASED] * (MAX_ATTEMPTS - 1) + [Outcome.ERROR]
    run.refresh_from_db()
    assert run.error == (
        "5 attempts in a row ended without progress. The server failed. Whoever may control the dataset sees why."
    )
    assert failure_note(run) == "DatabaseError: too many SQL variables"
    assert sweep() == 0


def test_progress_sets_the_count_back(run: Run) -> None:
    with refusing(DatabaseError("no"), words='INSERT INTO "pipeline_chunk"'):
        Runner(run.pk).process()
    assert attempts(run) == 1
    with refusing(DatabaseError("no"), words='INSERT INTO "datasets_embeddingblock"'):
        for _ in range(MAX_ATTEMPTS - 1):
            assert Runner(run.pk).process() is Outcome.RELEASED
    # The first of these has indexed, and the others have done nothing.
    assert attempts(run) == MAX_ATTEMPTS - 1
    assert Runner(run.pk).process() is Outcome.READY


def test_run_whose_workers_are_lost_again_and_again_ends_in_error(run: Run) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        DBTaskResult.objects.update(status=TaskResultStatus.RUNNING, started_at=timezone.now())
        Job.objects.filter(pk=run.pk).update(lease_token="dead", lease_until=timezone.now() - timedelta(seconds=1))
        assert sweep() == (attempt < MAX_ATTEMPTS)
    error = progress_of(run.dataset_id).error
    assert error is not None
    assert "Nothing was heard from the worker" in error
    assert sweep() == 0


def test_lost_connections_and_locks_do_not_count(run: Run) -> None:
    for _ in range(MAX_ATTEMPTS + 1):
        with refusing(OperationalError("the connection is lost"), words='INSERT INTO "pipeline_chunk"'):
            assert Runner(run.pk).process() is Outcome.INTERRUPTED
        sweep()
    assert attempts(run) == 0
    assert Runner(run.pk).process() is Outcome.READY


def test_lease_that_could_not_be_released_is_not_that_of_a_lost_worker(run: Run) -> None:
    with ExitStack() as away, lease.hold(run.pk) as held:
        assert held is not None
        away.enter_context(refusing(OperationalError("the connection is lost"), words='"pipeline_job"'))
    assert Job.objects.get(pk=run.pk).lease_token == held.token
    Job.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert sweep() == 0  # its task still waits in the queue
    assert Job.objects.get(pk=run.pk).lease_token == ""
    assert attempts(run) == 0


def test_database_that_is_lost_before_the_run_is_taken_is_an_interruption(run: Run) -> None:
    with refusing(OperationalError("the connection is lost"), words='UPDATE "pipeline_job"'):
        assert Runner(run.pk).process() is Outcome.INTERRUPTED
    assert Runner(run.pk).process() is Outcome.READY
