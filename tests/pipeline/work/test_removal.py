"""A deleted dataset is gone for everybody at once, and a worker removes what is left of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.core import sql
from apps.datasets.models import Dataset, EmbeddingBlock, Sample, StateCount, Token
from apps.datasets.services import delete_dataset
from apps.pipeline.images.media import thumbnail_folder
from apps.pipeline.models import Chunk, Job
from apps.pipeline.queue import sweep
from apps.pipeline.services import process_folder
from apps.pipeline.work.lease import Lease, LeaseLost
from apps.pipeline.work.removal import remove_deleted_datasets
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.errors import RunFinished
from apps.progress.models import Head
from apps.progress.reports import Report, accept_reports
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.pipeline.runs import process
from tests.processes import worker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = [
    model for label in ("datasets", "progress", "pipeline") for model in apps.get_app_config(label).get_models()
    if model not in (Token, StateCount)
]  # fmt: skip


def remove() -> None:
    remove_deleted_datasets(threading.Event())


def rows_left() -> dict[str, int]:
    return {model.__name__: count for model in TABLES if (count := model._base_manager.count())}


def test_everything_of_it_is_removed_and_nothing_of_others(folder: Path) -> None:
    make_images(folder, 20)
    (folder / "broken.jpg").write_bytes(b"no image")
    dataset = process(folder)[0].dataset
    accept_reports([(dataset.pk, Report(worker="one", current=4, failures=[("a", "b")]))])
    before = process_folder(folder, dataset_id="other")
    kept = rows_left()
    delete_dataset(dataset)
    assert rows_left() == kept
    remove()
    assert rows_left() == {"Dataset": 1, "Head": 1, "Run": 1, "Stage": 2, "Transition": 1, "Source": 1, "Job": 1}
    assert not thumbnail_folder(dataset.pk).exists()
    assert Runner(before.pk).process() is Outcome.READY


def test_removal_is_done_in_small_transactions_and_loads_no_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ROWS_PER_DELETE", 10)
    dataset = Dataset.objects.create(dataset_id="cats")
    blocks = EmbeddingBlock.objects.bulk_create(
        EmbeddingBlock(dataset=dataset, embedder="e", dimensions=1, sample_ids=b"", vectors=b"") for _ in range(15)
    )
    Sample.objects.bulk_create(
        Sample(
            dataset=dataset, path=f"{number}.jpg", size=1, mtime_ns=1, sha256="0" * 64, format="JPEG", width=1,
            height=1, thumbnail_width=1, thumbnail_height=1, seen_in_run=1, embedding_block=blocks[number % 15],
        )
        for number in range(35)
    )  # fmt: skip
    delete_dataset(dataset)
    sizes: list[int] = []

    def note(execute: Callable[..., Any], query: str, parameters: Any, many: bool, context: Any) -> Any:
        result = execute(query, parameters, many, context)
        if query.startswith("DELETE"):
            sizes.append(context["cursor"].rowcount)
        return result

    with CaptureQueriesContext(connection) as queries, connection.execute_wrapper(note):
        remove()
    assert rows_left() == {}
    assert sum(sizes) == 35 + 15 + 1
    assert max(sizes) == 10
    assert not [query for query in queries.captured_queries if '"vectors"' in query["sql"]]


def test_run_of_a_deleted_dataset_ends_and_leaves_nothing(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, dataset_id="cats")

    def delete(shown: DatasetProgress) -> None:
        if shown.current == 32:
            delete_dataset(run.dataset)
            remove()

    on_change(delete)
    assert Runner(run.pk).process() is Outcome.SUPERSEDED
    assert rows_left() == {}
    assert not thumbnail_folder(run.dataset_id).exists()


def test_run_of_a_deleted_dataset_is_neither_taken_nor_queued_again(folder: Path) -> None:
    make_images(folder, 1)
    run = process_folder(folder, dataset_id="cats")
    Job.objects.update(task_id="")
    delete_dataset(run.dataset)
    assert sweep() == 0
    assert Runner(run.pk).process() is Outcome.SUPERSEDED
    assert not Sample.objects.exists()


def test_nobody_begins_a_run_of_a_deleted_dataset() -> None:
    """One who looked it up before it was deleted."""
    dataset = Dataset.objects.create(dataset_id="cats")
    delete_dataset(dataset)
    with pytest.raises(Dataset.DoesNotExist):
        progress.begin_run(dataset)
    with pytest.raises(Dataset.DoesNotExist):
        accept_reports([(dataset.pk, Report(current=1))])
    assert not Head.objects.exists()


def test_nobody_writes_once_the_removal_has_begun(folder: Path) -> None:
    run = process_folder(folder, dataset_id="cats")
    Chunk.objects.create(job=Job.objects.get(), phase="index", position=0, items=[], size=1)
    lease = Lease(run.pk)
    assert lease.acquire()
    delete_dataset(run.dataset)
    with lease.transaction():  # what was deleted is not yet being removed
        progress.report(run.pk, message="on the way")
    stopped = threading.Event()
    stopped.set()
    remove_deleted_datasets(stopped)
    assert Job.objects.filter(run=run).exists()
    with pytest.raises(LeaseLost), lease.transaction():
        raise AssertionError("another worker removes the dataset")
    with pytest.raises(RunFinished):
        progress.report(run.pk, message="too late")
    with pytest.raises(Dataset.DoesNotExist):
        accept_reports([(run.dataset_id, Report(current=1))])


def test_removal_goes_on_where_it_was_stopped() -> None:
    dataset = Dataset.objects.create(dataset_id="cats")
    progress.begin_run(dataset)
    delete_dataset(dataset)
    stopped = threading.Event()
    stopped.set()
    remove_deleted_datasets(stopped)
    assert Dataset.with_deleted.exists()
    remove()
    assert rows_left() == {}


@pytest.mark.long
def test_dataset_that_is_deleted_under_a_worker_is_removed_by_it(folder: Path, tmp_path: Path) -> None:
    """Again and again, at any moment: nobody waits for the other for ever, and nothing is left."""
    make_images(folder, 400)
    log = tmp_path / "log"
    with worker(log):
        for attempt in range(4):
            run = process_folder(folder, dataset_id="cats")
            wait_until(
                lambda: Sample.objects.filter(dataset=run.dataset_id).count() >= 32 * attempt,  # noqa: B023 -- at once
                seconds=60, what="no sample was indexed",
            )  # fmt: skip
            with transaction.atomic():
                delete_dataset(run.dataset)
        wait_until(lambda: not rows_left(), seconds=60, what="it is not removed")
    assert "deadlock" not in log.read_text()
    assert "Traceback" not in log.read_text()
