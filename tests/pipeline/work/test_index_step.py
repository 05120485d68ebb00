"""The index step: what is read again, and files that cannot be read."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.datasets.models import Sample
from apps.pipeline.images.media import thumbnail_file
from apps.pipeline.images.similar import similar_to
from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.models import ItemFailure
from apps.progress.selectors import progress_of
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.pipeline.runs import process
from tests.pipeline.work.processes import pool_processes

pytestmark = pytest.mark.django_db(transaction=True)


def test_second_run_reads_only_what_changed(folder: Path) -> None:
    images = make_images(folder, 40)
    process(folder)
    before = {sample.path: sample for sample in Sample.objects.all()}
    images[0].unlink()
    make_images(folder / "changed", 1, seed=9)[0].rename(images[1])
    make_images(folder / "new", 2, seed=10)
    thumbnail_file(before["000002.jpg"]).unlink()
    gone, replaced = (thumbnail_file(before[path]) for path in ("000000.jpg", "000001.jpg"))

    run, outcome = process(folder)

    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.run, shown.skipped, shown.current, shown.total) == (2, 37, 41, 41)
    after = {sample.path: sample for sample in Sample.objects.present()}
    assert set(after) == set(before) - {"000000.jpg"} | {"new/000000.jpg", "new/000001.jpg"}
    assert after["000001.jpg"].sha256 != before["000001.jpg"].sha256
    assert after["000001.jpg"].pk == before["000001.jpg"].pk
    assert after["000003.jpg"].embedding_block_id == before["000003.jpg"].embedding_block_id
    assert after["000001.jpg"].embedding_block_id != before["000001.jpg"].embedding_block_id
    assert gone.exists()
    assert not replaced.exists()
    assert all(thumbnail_file(sample).exists() for sample in after.values())
    assert not any(found.sample.path == "000000.jpg" for found in similar_to(after["000003.jpg"], 40))
    assert len({found.sample.pk for found in similar_to(after["000003.jpg"], 50)}) == 40


def test_process_that_dies_under_a_chunk_loses_nothing(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, dataset_id="cats")
    killed: list[int] = []

    def kill(shown: DatasetProgress) -> None:
        if shown.state == "indexing" and shown.current == 32 and not killed:
            for process in pool_processes():
                killed.append(process.pid)
                process.send_signal(signal.SIGKILL)

    on_change(kill)
    assert Runner(run.pk).process() is Outcome.READY
    assert killed
    shown = progress_of(run.dataset_id)
    assert (shown.current, shown.total, shown.failed) == (200, 200, 0)
    assert Sample.objects.count() == 200


def test_pixels_over_the_limit_are_a_failure(folder: Path, settings: Settings) -> None:
    make_images(folder, 1)
    make_images(folder / "large", 1, size=(200, 200))
    settings.MAX_IMAGE_PIXELS = 10_000
    run, _ = process(folder)
    assert list(ItemFailure.objects.filter(run=run).values_list("item", flat=True)) == ["large/000000.jpg"]
