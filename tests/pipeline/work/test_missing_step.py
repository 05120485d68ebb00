"""Samples whose files are gone: missing, and kept until they are back or forgotten."""

from __future__ import annotations

import shutil
import subprocess
import threading
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from apps.datasets.models import Dataset, Sample
from apps.datasets.services import forget_missing_samples
from apps.pipeline.images.absence import EMPTY, OTHER_FILE_SYSTEM
from apps.pipeline.images.media import thumbnail_file
from apps.pipeline.images.similar import similar_to
from apps.pipeline.models import Source
from apps.pipeline.services import process_folder
from apps.pipeline.work.removal import delete_forgotten_samples
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run
from apps.progress.selectors import progress_of
from tests.images import make_images
from tests.pipeline.runs import process
from tests.processes import worker
from tests.services import find_program, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 4 images and 3 in a subfolder, processed."""
    folder = tmp_path / "images"
    make_images(folder, 4)
    make_images(folder / "sub", 3, seed=1)
    assert process(folder)[1] is Outcome.READY
    return folder


def missing() -> set[str]:
    return set(Sample.objects.missing().values_list("path", flat=True))


def failures(run: Run) -> dict[str, str]:
    return dict(ItemFailure.objects.filter(run=run).values_list("item", "reason"))


def test_subfolder_that_was_moved_away_and_is_back(folder: Path, tmp_path: Path) -> None:
    before = {sample.path: sample for sample in Sample.objects.all()}
    made = {path: thumbnail_file(sample).stat().st_mtime_ns for path, sample in before.items()}
    (folder / "sub").rename(tmp_path / "away")
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.current, shown.total, shown.failed) == (4, 4, 0)
    assert shown.message == "3 files are gone since the last run."
    assert missing() == {f"sub/{number:06}.jpg" for number in range(3)}
    assert len(similar_to(Sample.objects.get(path="000000.jpg"), 10)) == 3

    (tmp_path / "away").rename(folder / "sub")
    run, outcome = process(folder)
    shown = progress_of(run.dataset_id)
    assert (shown.current, shown.skipped, shown.message) == (7, 7, "")
    after = {sample.path: sample for sample in Sample.objects.present()}
    for path, sample in before.items():
        assert (after[path].pk, after[path].embedding_block_id) == (sample.pk, sample.embedding_block_id)
        assert thumbnail_file(sample).stat().st_mtime_ns == made[path]


def test_file_that_is_back_with_another_content_is_read(folder: Path) -> None:
    sample = Sample.objects.get(path="000000.jpg")
    (folder / sample.path).unlink()
    process(folder)
    process(folder)  # in which nothing is gone anew
    assert progress_of(sample.dataset_id).message == ""
    make_images(folder / "new", 1, seed=9)[0].rename(folder / sample.path)
    (folder / "new").rmdir()
    process(folder)
    after = Sample.objects.get(pk=sample.pk)
    assert after.missing_since is None
    assert after.sha256 != sample.sha256
    assert not thumbnail_file(sample).exists()


def test_empty_subfolder_keeps_its_samples(folder: Path) -> None:
    for image in (folder / "sub").iterdir():
        image.unlink()
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    assert missing() == set()
    assert failures(run) == {"sub": EMPTY}
    (folder / "sub").rmdir()
    process(folder)
    assert len(missing()) == 3


def test_file_that_cannot_be_read_keeps_its_sample(folder: Path, tmp_path: Path) -> None:
    (folder / "000000.jpg").write_bytes(b"damaged")
    (folder / "000001.jpg").unlink()
    (folder / "000001.jpg").symlink_to("nowhere.jpg")
    (folder / "000002.jpg").unlink()
    (folder / "000002.jpg").symlink_to(tmp_path)
    run, _ = process(folder)
    assert missing() == set()
    assert set(failures(run)) == {"000000.jpg", "000001.jpg", "000002.jpg"}
    assert all(thumbnail_file(sample).exists() for sample in Sample.objects.all())


def test_subfolder_on_another_file_system_keeps_its_samples(folder: Path) -> None:
    source = Source.objects.get()
    assert source.mounts is not None
    Source.objects.update(mounts=source.mounts | {"sub": "1a2b"})  # as it was when a disk was mounted there
    (folder / "sub" / "000000.jpg").unlink()
    (folder / "000000.jpg").unlink()
    for _ in range(2):
        run, outcome = process(folder)
        assert outcome is Outcome.READY
        assert missing() == {"000000.jpg"}
        assert failures(run) == {"sub": OTHER_FILE_SYSTEM}
    # Once all samples are found where they are, that is where they were before.
    make_images(folder / "sub", 1)
    process(folder)
    assert Source.objects.get().mounts == source.mounts
    (folder / "sub" / "000000.jpg").unlink()
    process(folder)
    assert missing() == {"000000.jpg", "sub/000000.jpg"}


def test_disk_that_is_not_mounted_keeps_its_samples(small_disk: Path) -> None:
    folder = small_disk.parent
    make_images(folder / "here", 2)
    make_images(small_disk, 2, seed=1)
    process(folder)
    mount, unmount = (find_program(name, package="mount") for name in ("mount", "umount"))
    subprocess.run([unmount, "--lazy", str(small_disk)], check=True)
    try:
        for stray, reason in ((0, EMPTY), (1, OTHER_FILE_SYSTEM)):
            make_images(small_disk, stray, seed=2)
            run, outcome = process(folder)
            assert outcome is Outcome.READY
            assert missing() == set()
            assert failures(run) == {"disk": reason}
    finally:
        subprocess.run([mount, "-t", "tmpfs", "tmpfs", str(small_disk)], check=True)
    assert Sample.objects.present().count() == 4


@pytest.mark.parametrize("is_folder", [True, False], ids=["the folder", "below it"])
def test_another_disk_at_the_same_place_keeps_the_samples_of_the_first(small_disk: Path, is_folder: bool) -> None:
    mount, unmount = (find_program(name, package="mount") for name in ("mount", "umount"))
    folder, place = (small_disk, ".") if is_folder else (small_disk.parent, small_disk.name)
    make_images(small_disk, 2)
    process(folder)
    subprocess.run([unmount, "--lazy", str(small_disk)], check=True)
    subprocess.run([mount, "-t", "tmpfs", "tmpfs", str(small_disk)], check=True)
    make_images(small_disk / "others", 1, seed=3)
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    assert missing() == set()
    assert Sample.objects.present().count() == 3
    assert failures(run) == {place: OTHER_FILE_SYSTEM}


def test_forgotten_samples_are_deleted_when_no_run_may_find_them(folder: Path) -> None:
    dataset = Dataset.objects.get()
    samples = list(Sample.objects.filter(path__startswith="sub/"))
    shutil.rmtree(folder / "sub")
    process(folder)
    assert forget_missing_samples(dataset) == 3
    dataset.refresh_from_db()
    assert dataset.missing_samples().count() == 0
    run = process_folder(folder, dataset_id="cats")
    delete_forgotten_samples(threading.Event())
    assert Sample.objects.count() == 7
    progress.cancel(run.pk)
    delete_forgotten_samples(threading.Event())
    assert Sample.objects.count() == 4
    assert not any(thumbnail_file(sample).exists() for sample in samples)
    dataset.refresh_from_db()
    assert dataset.missing_forgotten_at is None


def test_worker_deletes_what_was_forgotten(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "sub")
    process(folder)
    forget_missing_samples(Dataset.objects.get())
    with worker(tmp_path / "log", {"PIPELINE_PROCESSES": "1"}):
        wait_until(lambda: Sample.objects.count() == 4, seconds=60, what="they were not deleted")


def test_sample_that_is_back_before_it_was_deleted_stays(folder: Path, tmp_path: Path) -> None:
    (folder / "sub").rename(tmp_path / "away")
    process(folder)
    forget_missing_samples(Dataset.objects.get())
    (tmp_path / "away").rename(folder / "sub")
    process(folder)
    delete_forgotten_samples(threading.Event())
    assert Sample.objects.present().count() == 7


def test_missing_samples_are_forgotten_after_days_if_that_is_wished(folder: Path, settings: Settings) -> None:
    (folder / "000000.jpg").unlink()
    (folder / "000001.jpg").unlink()
    process(folder)
    Sample.objects.filter(path="000000.jpg").update(missing_since=timezone.now() - timedelta(days=31))
    delete_forgotten_samples(threading.Event())
    assert Sample.objects.count() == 7
    settings.FORGET_MISSING_AFTER_DAYS = 30
    delete_forgotten_samples(threading.Event())
    assert missing() == {"000001.jpg"}


def test_process_forgets_what_its_run_finds_missing(folder: Path) -> None:
    shutil.rmtree(folder / "sub")
    call_command("process", str(folder), "--dataset", "cats", "--forget-missing", stdout=StringIO())
    assert Runner(Run.objects.latest("number").pk).process() is Outcome.READY
    delete_forgotten_samples(threading.Event())
    assert Sample.objects.count() == 4


def test_another_folder_makes_what_is_not_in_it_missing(folder: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "other", 1)
    run = process_folder(tmp_path / "other", dataset_id="cats", replace=True)
    assert Runner(run.pk).process() is Outcome.READY
    assert Sample.objects.present().count() == 1
    assert len(missing()) == 6
