"""Only the holder of a lease writes: a worker is frozen at a statement, loses its lease, and is woken later."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models import Model
from django.db.models.functions import Now

from apps.datasets.models import Dataset, EmbeddingBlock, Sample
from apps.pipeline.images.media import thumbnail_folder
from apps.pipeline.models import Chunk, Job
from apps.pipeline.services import process_folder
from apps.pipeline.work import runner
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.models import Head, ItemFailure, Run, Stage, Transition
from tests.images import make_images

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

# Each statement takes about a second, so a usual run takes every seventh. FREEZE_EVERY=1 takes all.
EVERY = int(os.environ.get("FREEZE_EVERY", "7"))


class Direct:
    """In place of the pool: work is done at once, by the worker itself, so that nothing but statements is left."""

    processes = 1

    def __init__(self, *args: object, **options: object) -> None: ...

    def __enter__(self) -> Direct:
        return self

    def __exit__(self, *error: object) -> None: ...

    def submit(self, work: Callable[..., Any], *args: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*args))
        return future

    def wait(self, futures: Iterable[Future[Any]]) -> set[Future[Any]]:
        return set(futures)


def frozen_worker(run_pk: int, at: int) -> int | None:
    """Fork a worker of a run that stops itself before its statement number ``at``.

    Returns its process id, or ``None`` if it ended before.
    """
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        _work_until(run_pk, at)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return pid
    assert os.waitstatus_to_exitcode(status) == 0
    return None


def nobody_can_write() -> bool:
    """Whether a thread of the frozen worker holds SQLite's lock. PostgreSQL soon ends a session that stands still."""
    if connection.vendor != "sqlite":
        return False
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        other.execute("ROLLBACK")
        return False


def _work_until(run_pk: int, at: int) -> None:
    """Process a run in this process, which is a fork, and end it."""
    count = 0

    def stop(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGSTOP)
        return execute(sql, params, many, context)

    def prepare(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
        if connection.vendor == "postgresql":  # as the worker does, but shorter
            with connection.cursor() as cursor:
                cursor.execute("SET idle_in_transaction_session_timeout = 300")
        connection.execute_wrappers.append(stop)

    status = 1
    try:
        connection_created.connect(prepare, weak=False)
        try:
            Runner(run_pk).process()
        except Exception as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        status = 0
    finally:
        os._exit(status)


def rows(dataset: Dataset) -> dict[str, Any]:
    """All rows of a dataset, and the names of its thumbnails."""
    models: dict[type[Model], str] = {
        Dataset: "pk", Sample: "dataset", EmbeddingBlock: "dataset", Head: "dataset", Run: "dataset",
        Stage: "run__dataset", ItemFailure: "run__dataset", Transition: "run__dataset", Job: "run__dataset",
        Chunk: "job__run__dataset",
    }  # fmt: skip
    found: dict[str, Any] = {
        model.__name__: list(model._default_manager.filter(**{field: dataset.pk}).order_by("pk").values())
        for model, field in models.items()
    }
    return found | {"thumbnails": sorted(path.name for path in thumbnail_folder(dataset.pk).rglob("*.jpg"))}


def test_worker_that_was_frozen_changes_nothing_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "Pool", Direct)
    at, stops = 1, 0
    while True:
        folder = tmp_path / str(at)
        images = make_images(folder, 6)
        first = process_folder(folder, dataset_id=f"cats-{at}")
        assert Runner(first.pk).process() is Outcome.READY
        # The second run, which freezes, has samples to forget, to replace, to add and to embed.
        gone = images[0].read_bytes()
        images[0].unlink()
        make_images(folder / "changed", 1, seed=7)[0].rename(images[1])
        make_images(folder / "new", 2, seed=8)
        (folder / "broken.jpg").write_bytes(b"")
        second = process_folder(folder, dataset_id=f"cats-{at}")
        pid = frozen_worker(second.pk, at)
        if pid is None:
            break
        try:
            if nobody_can_write():
                # Nobody can take its job either: it goes on as if nothing had been.
                os.kill(pid, signal.SIGCONT)
                os.waitpid(pid, 0)
                assert Run.objects.get(pk=second.pk).state == "ready", at
                continue
            stops += 1
            Job.objects.filter(pk=second.pk).exclude(lease_token="").update(lease_until=Now())  # its lease runs out
            is_over = not Run.objects.unfinished().filter(pk=second.pk).exists()
            if not is_over:
                assert Runner(second.pk).process() is Outcome.READY, at
            # The third run finds what was gone before, and is over, or has only begun.
            images[0].write_bytes(gone)
            third = process_folder(folder, dataset_id=f"cats-{at}")
            if stops % 2:
                assert Runner(third.pk).process() is Outcome.READY, at
            expected = rows(third.dataset)
            for job in expected["Job"]:
                if job["run_id"] == second.pk:
                    # Frozen behind its last commit, it still holds the lease of its own run, and lets it go.
                    job.update(lease_token="", lease_until=None)
            os.kill(pid, signal.SIGCONT)
            os.waitpid(pid, 0)
            found = rows(third.dataset)
            if is_over:
                # What is left of its own run is its to delete. If the database has ended its session, it keeps the
                # lease of its own run, which has run out.
                for seen in (expected, found):
                    seen["Chunk"] = [chunk for chunk in seen["Chunk"] if chunk["job_id"] != second.pk]
                    seen["Job"] = [job for job in seen["Job"] if job["run_id"] != second.pk]
            assert found == expected, at
            assert Runner(third.pk).process() is (Outcome.SUPERSEDED if stops % 2 else Outcome.READY), at
            assert Sample.objects.filter(dataset=third.dataset).count() == 8, at
        except BaseException:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            at += EVERY
    assert stops > 1
