"""Workers as in production: what operators ask of them, and the limit of a batch that several share."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from apps.batches.models import Batch, BatchMember
from apps.datasets import state_counts
from apps.datasets.models import Dataset, StateCount
from apps.pipeline.models import Job
from apps.pipeline.services import process_folder
from apps.progress import services
from apps.progress.models import Run, Stage
from apps.progress.selectors import progress_of
from tests.images import make_images
from tests.processes import worker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# Between two sweeps of these workers 200 s go by.
SELDOM = {"LEASE_SECONDS": "600", "PIPELINE_PROCESSES": "1", "EMBEDDER": "tests.pipeline.work.deadly.Held"}


def test_a_resumed_run_goes_on_without_waiting_for_a_sweep(folder: Path, tmp_path: Path) -> None:
    make_images(folder, 300)
    gate = tmp_path / "gate"  # behind which the embedder waits
    gate.touch()
    run = process_folder(folder, dataset_id="cats")
    job = Job.objects.filter(pk=run.pk)
    with worker(tmp_path / "log", SELDOM | {"GATE": str(gate)}):
        for _ in range(2):
            wait_until(lambda: progress_of(run.dataset_id).state == "embedding", seconds=60, what="it did not embed")
            wait_until(lambda: job.exclude(lease_token="").exists(), seconds=60, what="nobody works on it")
            services.request_pause(run.pk, "ann")
            wait_until(lambda: job.filter(lease_token="").exists(), seconds=60, what="it was not paused")
            services.request_resume(run.pk, "ann")
        wait_until(lambda: job.exclude(lease_token="").exists(), seconds=60, what="it was not resumed")
        services.request_cancel(run.pk, "ben")
        wait_until(lambda: progress_of(run.dataset_id).cancelled, seconds=60, what="it was not cancelled")


def test_three_workers_keep_to_the_limit_of_a_batch(folder: Path, tmp_path: Path) -> None:
    batch = Batch.objects.create(batch_id="nightly", limit=2)
    runs = []
    for name in "abcdef":
        make_images(folder / name, 150, seed=ord(name))
        run = process_folder(folder / name, dataset_id=name)
        BatchMember.objects.create(batch=batch, dataset=run.dataset, is_limited=True)
        runs.append(run)
    gate = tmp_path / "gate"
    gate.touch()
    with ExitStack() as workers:
        for number in range(3):
            workers.enter_context(worker(tmp_path / f"log-{number}", SELDOM | {"GATE": str(gate)}))
        embedding = Run.objects.filter(state="embedding")
        wait_until(lambda: embedding.count() == 2, seconds=90, what="two were not processed at once")
        wait_until(lambda: Job.objects.filter(is_held=True).exists(), seconds=60, what="no job was refused")
        assert {run.state for run in Run.objects.all()} == {"embedding", "pending"}
        gate.unlink()
        ended = Run.objects.filter(state="ready")
        wait_until(lambda: ended.count() == len(runs), seconds=120, what="they did not all end")
    assert most_at_once(runs) == 2
    assert len({run.origin["process"] for run in Run.objects.all()}) > 1


def most_at_once(runs: list[Run]) -> int:
    """How many of the runs were worked on at the same time, at most."""
    moments = []
    for run in Run.objects.filter(pk__in=[run.pk for run in runs]):
        first = Stage.objects.filter(run=run).earliest("started_at")
        assert first.started_at is not None
        assert run.finished_at is not None
        moments += [(first.started_at, 1), (run.finished_at, -1)]
    going, most = 0, 0
    for _, change in sorted(moments):
        going += change
        most = max(most, going)
    return most


def test_a_worker_adds_up_what_lists_count_by(db: None, tmp_path: Path) -> None:
    Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}") for number in range(state_counts.MOST_ROWS + 1))
    with worker(tmp_path / "log"):
        wait_until(lambda: StateCount.objects.count() == 1, seconds=60, what="it was not added up")
