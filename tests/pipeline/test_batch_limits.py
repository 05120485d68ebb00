"""The limit of a batch: so many of its jobs go on at the same time, however many workers there are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from apps.batches.models import Batch, BatchMember
from apps.datasets.models import Dataset
from apps.pipeline.models import Job, Source
from apps.pipeline.queue import admit_held, sweep
from apps.pipeline.services import queue_run
from apps.pipeline.work.lease import Lease
from apps.progress import services
from apps.progress.models import Run

pytestmark = pytest.mark.django_db(transaction=True)


def queued(*names: str, limit: int = 2, batch_id: str = "nightly") -> list[Run]:
    """Queue a run of each dataset, all of which are in a batch."""
    batch, _ = Batch.objects.get_or_create(batch_id=batch_id, defaults={"limit": limit})
    runs = []
    for name in names:
        dataset, is_new = Dataset.objects.get_or_create(dataset_id=name)
        BatchMember.objects.create(batch=batch, dataset=dataset, is_limited=True)
        if is_new:
            Source.objects.create(dataset=dataset, folder=f"/data/{name}")
            runs.append(queue_run(dataset))
    return runs


def going() -> set[str]:
    """The datasets whose jobs have a task."""
    tasks = set(map(str, DBTaskResult.objects.values_list("pk", flat=True)))
    rows = Job.objects.filter(is_held=False).values_list("run__dataset__dataset_id", "task_id", "run__state")
    return {name for name, task, state in rows if task in tasks and state == "pending"}


def test_as_many_go_on_as_the_limit_says() -> None:
    runs = queued(*"abcde")
    assert going() == set()
    assert [admit_held(), admit_held()] == [2, 0]
    assert going() == {"a", "b"}
    services.finish(runs[0].pk)
    assert admit_held() == 1
    assert going() == {"b", "c"}
    sweep()  # it queues again what was dropped, and nothing is
    assert going() == {"b", "c"}
    services.cancel(runs[3].pk)
    services.finish(runs[1].pk)
    assert admit_held() == 1
    assert going() == {"c", "e"}


def test_no_more_leases_than_the_limit_whatever_was_queued() -> None:
    runs = queued(*"abc")
    Job.objects.update(is_held=False)
    leases = [Lease(run.pk) for run in runs]
    assert [lease.acquire() for lease in leases] == [True, True, False]
    assert Job.objects.get(pk=runs[2].pk).is_held
    leases[0].release()
    services.finish(runs[0].pk)
    admit_held()
    assert leases[2].acquire()


def test_workers_that_take_jobs_at_once_never_take_too_many() -> None:
    runs = queued(*"abcdefgh", limit=3)
    Job.objects.update(is_held=False)
    ready = threading.Barrier(len(runs))

    def take(run_pk: int) -> bool:
        try:
            ready.wait(60)
            return Lease(run_pk).acquire()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(runs)) as workers:
        taken = list(workers.map(take, [run.pk for run in runs]))
    assert sum(taken) == 3
    assert Job.objects.filter(lease_until__gte=timezone.now()).count() == 3


def test_a_paused_run_gives_up_its_place_and_waits_for_one_when_it_goes_on() -> None:
    runs = queued(*"abc", limit=1)
    admit_held()
    services.request_pause(runs[0].pk, "olga")
    assert admit_held() == 1
    assert going() == {"a", "b"}  # its task finds it paused
    DBTaskResult.objects.filter(pk=Job.objects.get(pk=runs[0].pk).task_id).delete()
    services.request_resume(runs[0].pk, "olga")
    sweep()
    assert Job.objects.get(pk=runs[0].pk).is_held
    assert admit_held() == 0
    services.finish(runs[1].pk)
    assert admit_held() == 1
    assert going() == {"a"}


def test_without_a_limit_nothing_is_held() -> None:
    queued("a", limit=0)
    assert going() == {"a"}
    queued(*"bcde", limit=1, batch_id="limited")
    BatchMember.objects.filter(dataset__dataset_id="b").update(is_limited=False)  # its maker may not steer it
    Batch.objects.filter(batch_id="limited").update(limit=0)
    assert admit_held() == 4


def test_jobs_that_wait_for_a_place_in_another_batch_hold_up_no_others() -> None:
    queued("x", limit=1, batch_id="narrow")
    assert admit_held() == 1
    queued(*"abcd", limit=2)
    queued("a", "b", limit=1, batch_id="narrow")
    assert admit_held() == 2
    assert going() == {"c", "d", "x"}


def test_a_job_of_two_batches_needs_a_place_in_both() -> None:
    runs = queued(*"abc", limit=2)
    queued("a", "b", limit=1, batch_id="narrow")
    assert admit_held() == 1
    services.finish(runs[0].pk)
    Batch.objects.filter(batch_id="narrow").delete()
    assert admit_held() == 2
    assert going() == {"b", "c"}


def test_many_held_jobs_take_as_many_queries_as_few() -> None:
    queued("a", "b", limit=1)
    with CaptureQueriesContext(connection) as few:
        assert admit_held() == 1
    queued(*(f"set-{number}" for number in range(30)), limit=1, batch_id="other")
    with CaptureQueriesContext(connection) as many:
        assert admit_held() == 1
    assert len(many) == len(few)
