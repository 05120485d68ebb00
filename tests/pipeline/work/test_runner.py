"""A run of the pipeline, from a folder to a dataset that can be browsed. The processes are real ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from apps.datasets.models import Sample
from apps.pipeline.images.media import open_original, thumbnail_file
from apps.pipeline.models import Chunk, Job
from apps.pipeline.queue import sweep
from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run
from apps.progress.selectors import progress_of
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.pipeline.runs import process
from tests.pipeline.work.processes import pool_processes

pytestmark = pytest.mark.django_db(transaction=True)


def test_folder_ends_ready_with_its_samples_and_its_failures(folder: Path) -> None:
    make_images(folder / "a", 40)
    make_images(folder / "b", 5, seed=1)
    (folder / "a" / "000007.jpg").write_bytes(b"")
    (folder / "notes.jpg").write_text("not an image")
    (folder / "readme.txt").write_text("not a candidate")
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.state, shown.percent, shown.failed) == ("ready", 100.0, 2)
    assert (shown.current, shown.total) == (44, 44)
    assert [(s.name, s.state, s.current, s.total, s.planned) for s in shown.stages] == [
        ("index", "done", 46, 46, 46),
        ("embed", "done", 44, 44, 44),
    ]
    samples = Sample.objects.filter(dataset=run.dataset)
    assert samples.count() == 44
    assert sorted(samples.values_list("path", flat=True))[:2] == ["a/000000.jpg", "a/000001.jpg"]
    assert all(thumbnail_file(sample).stat().st_size for sample in samples)
    for sample in samples:
        with open_original(sample) as file:
            assert file.read(2) == b"\xff\xd8"
    failures = dict(ItemFailure.objects.filter(run=run).values_list("item", "reason"))
    assert set(failures) == {"a/000007.jpg", "notes.jpg"}
    assert all(failures.values())
    assert not Chunk.objects.exists()
    assert Job.objects.get(pk=run.pk).lease_token == ""


def test_counts_are_real_and_messages_do_not_repeat_them(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 70)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    seen: list[DatasetProgress] = []
    on_change(seen.append)
    process(folder)
    counts = {(shown.state, shown.current, shown.total) for shown in seen}
    assert {("indexing", 0, 71), ("indexing", 71, 71), ("embedding", 70, 70)} <= counts
    assert counts & {("embedding", 64, 70), ("embedding", 6, 70)}
    messages = {shown.message for shown in seen if shown.current and not shown.is_finished}
    assert messages == {"", "Finding near-duplicates..."}
    states = [shown.state for shown in seen]
    assert sorted(set(states), key=states.index) == ["pending", "indexing", "embedding", "ready"]
    versions = [shown.version for shown in seen]
    assert versions == sorted(versions)
    percents = [shown.percent or 0 for shown in seen]
    assert percents == sorted(percents)
    assert len({shown.current for shown in seen if shown.state == "indexing"}) >= 3


def test_paused_run_is_let_go_and_goes_on_where_it_was(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, dataset_id="cats")

    def pause(shown: DatasetProgress) -> None:
        if shown.current == 32 and not shown.paused:
            progress.request_pause(run.pk)

    on_change(pause)
    assert Runner(run.pk).process() is Outcome.RELEASED
    shown = progress_of(run.dataset_id)
    assert (shown.state, shown.paused) == ("indexing", True)
    done = set(Sample.objects.values_list("pk", flat=True))
    assert 32 <= len(done) < 200
    DBTaskResult.objects.all().delete()  # a worker has done with the task that brought it here
    assert sweep() == 0  # what is paused stays where it is
    progress.request_resume(run.pk)
    assert progress_of(run.dataset_id).is_waiting
    assert sweep() == 1
    shown = progress_of(run.dataset_id)
    assert (shown.health, shown.is_waiting, shown.rate) == (None, True, None)  # until a worker is free
    assert sweep() == 0
    assert Runner(run.pk).process() is Outcome.READY
    assert done < set(Sample.objects.values_list("pk", flat=True))
    assert Sample.objects.count() == 200


def test_cancelled_run_ends_and_keeps_what_it_has(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, dataset_id="cats")

    def cancel(shown: DatasetProgress) -> None:
        if shown.current == 32 and run.pk and Run.objects.get(pk=run.pk).control == Run.Control.RUN:
            progress.request_cancel(run.pk)

    on_change(cancel)
    assert Runner(run.pk).process() is Outcome.CANCELLED
    shown = progress_of(run.dataset_id)
    assert (shown.state, shown.cancelled) == ("error", True)
    assert 32 <= Sample.objects.count() < 200


def test_worker_that_is_stopped_lets_its_run_go(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, dataset_id="cats")
    stop = threading.Event()
    on_change(lambda shown: stop.set() if shown.current >= 32 else None)
    assert Runner(run.pk, stop).process() is Outcome.RELEASED
    assert Job.objects.get(pk=run.pk).lease_token == ""
    assert Runner(run.pk, threading.Event()).process() is Outcome.READY
    assert Sample.objects.count() == 200


@pytest.mark.parametrize("fails", ["results", "progress"])
def test_results_and_progress_of_a_chunk_are_written_together_or_not_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    make_images(folder, 40)
    run = process_folder(folder, dataset_id="cats")
    real = progress.report

    def report(run_pk: int, **said: Any) -> Run:
        if said.get("current"):
            raise OperationalError("the connection is lost")
        return real(run_pk, **said)

    def bulk_create(*args: Any, **options: Any) -> None:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patched:
        if fails == "results":
            patched.setattr(Sample.objects, "bulk_create", bulk_create)
        else:
            patched.setattr(progress, "report", report)
        assert Runner(run.pk).process() is Outcome.INTERRUPTED
    assert not Sample.objects.exists()
    assert not Chunk.objects.filter(done=True).exists()
    assert progress_of(run.dataset_id).current == 0
    assert Runner(run.pk).process() is Outcome.READY
    assert Sample.objects.count() == 40


def test_run_has_as_many_processes_as_the_setting_says(
    folder: Path, settings: Settings, on_change: Callable[..., None]
) -> None:
    make_images(folder, 200)
    settings.PIPELINE_PROCESSES = 3
    run = process_folder(folder, dataset_id="cats")
    counts: list[int] = []

    def count(shown: DatasetProgress) -> None:
        if shown.state == "indexing" and shown.current == 32:
            counts.append(len(pool_processes()))

    on_change(count)
    assert Runner(run.pk).process() is Outcome.READY
    assert counts == [3]


def test_run_goes_at_the_pace_of_the_setting(folder: Path, settings: Settings, on_change: Callable[..., None]) -> None:
    make_images(folder, 24)
    settings.PACE = 10
    seen: list[tuple[float, DatasetProgress]] = []
    on_change(lambda shown: seen.append((time.monotonic(), shown)))
    process(folder)
    for state in ("indexing", "embedding"):
        counted = [(at, shown) for at, shown in seen if shown.state == state]
        assert {0, 24} <= {shown.current for _, shown in counted if shown.message == "Slowed down to 10 a second"}
        assert max(after.current - before.current for (_, before), (_, after) in pairwise(counted)) <= 10
        # All but the last chunk, which has at most ten of them, take their time before the last is counted.
        assert counted[-1][0] - counted[0][0] >= 1.4
