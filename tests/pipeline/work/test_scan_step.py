"""The scan of a folder: what it takes in, what it refuses, and that it can be stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from apps.core.beneath import Folder, OutsideFolder
from apps.datasets.models import Sample
from apps.pipeline.images import scanning
from apps.pipeline.images.media import open_original, thumbnail_file
from apps.pipeline.services import process_folder, queue_run
from apps.pipeline.work import scan_step
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run
from apps.progress.selectors import failure_note, progress_of
from tests.images import make_images
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)


def test_empty_folder_is_ready_with_nothing(folder: Path) -> None:
    folder.mkdir()
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.state, shown.current, shown.total, shown.failed) == ("ready", 0, 0, 0)
    assert shown.message == "No image was found in its folder."


def test_folder_of_nothing_readable_says_so(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"")
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    assert progress_of(run.dataset_id).message == "None of its images could be read."


def test_folder_without_the_images_that_it_had_changes_nothing(folder: Path) -> None:
    images = make_images(folder, 3)
    process(folder)
    for image in images:
        image.unlink()
    run, outcome = process(folder)
    assert outcome is Outcome.ERROR
    assert failure_note(run) == (
        f"No image was found in {folder}, where there were 3. Nothing was changed: is it mounted?"
    )
    assert Sample.objects.count() == 3
    assert all(thumbnail_file(sample).exists() for sample in Sample.objects.all())


def test_samples_in_a_folder_that_cannot_be_read_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(folder / "a", 2)
    make_images(folder / "a b", 2, seed=2)  # begins like the other
    make_images(folder / "b", 2, seed=1)
    process(folder)
    real = os.scandir

    def scandir(directory: int) -> Any:
        if Path(f"/proc/self/fd/{directory}").resolve() == folder / "a":  # to root, nothing is unreadable
            raise PermissionError(13, "Permission denied")
        return real(directory)

    monkeypatch.setattr(os, "scandir", scandir)
    (folder / "a b" / "000000.jpg").unlink()
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    assert list(ItemFailure.objects.filter(run=run).values_list("item", "reason")) == [("a", "permission denied")]
    assert [sample.path for sample in Sample.objects.missing()] == ["a b/000000.jpg"]
    assert Sample.objects.present().count() == 5


def test_folder_that_has_become_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    make_images(folder, 1)
    process(folder)
    sample = Sample.objects.get()
    make_images(tmp_path / "elsewhere", 1, seed=1)
    folder.rename(tmp_path / "before")
    folder.symlink_to(tmp_path / "elsewhere")
    run = queue_run(sample.dataset)
    assert Runner(run.pk).process() is Outcome.ERROR
    assert "has become a link" in failure_note(run)
    with pytest.raises(OutsideFolder):
        open_original(sample)


def test_scan_of_what_is_no_image_can_be_cancelled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text("words")
    monkeypatch.setattr(scan_step, "SECONDS_BETWEEN_REPORTS", 0.0)
    run = process_folder(folder, dataset_id="cats")
    progress.heartbeat(run.pk)  # so that there is a worker to obey
    progress.request_cancel(run.pk)
    Run.objects.filter(pk=run.pk).update(control=Run.Control.RUN)
    listed: list[str] = []

    def cancel(_: Folder, name: str) -> bytes:
        listed.append(name)
        Run.objects.filter(pk=run.pk).update(control=Run.Control.CANCEL)
        return b""

    monkeypatch.setattr(scanning, "_head", cancel)
    assert Runner(run.pk).process() is Outcome.CANCELLED
    assert len(listed) == 1


def test_folder_that_is_gone_is_an_error_that_says_so(folder: Path) -> None:
    folder.mkdir()
    run = process_folder(folder, dataset_id="cats")
    folder.rmdir()
    assert Runner(run.pk).process() is Outcome.ERROR
    shown = progress_of(run.dataset_id)
    assert shown.state == "error"
    assert shown.error == "Its folder cannot be read. Whoever may control the dataset sees why."
    assert failure_note(run) == f"There is no folder {folder}."
