"""Queueing a run over a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command

from apps.datasets.models import Sample
from apps.pipeline.models import Source
from apps.pipeline.services import OtherFolder, process_folder
from apps.pipeline.work.lease import Lease, LeaseLost
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.models import Run
from tests.images import make_images
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)


def test_another_folder_is_taken_only_if_it_is_said(folder: Path, tmp_path: Path) -> None:
    make_images(folder, 2)
    process(folder)
    other = tmp_path / "other"
    make_images(other, 1, seed=1)
    with pytest.raises(OtherFolder, match=f"cats reads from {folder}, not from {other}"):
        process_folder(other, dataset_id="cats")
    assert Source.objects.get().folder == str(folder)
    assert Run.objects.count() == 1
    assert Runner(process_folder(other, dataset_id="cats", replace=True).pk).process() is Outcome.READY
    assert Sample.objects.present().count() == 1


def test_no_worker_holds_a_run_of_a_restored_database(folder: Path) -> None:
    make_images(folder, 1)
    lease = Lease(process_folder(folder, dataset_id="cats").pk)
    assert lease.acquire()
    call_command("restored")
    with pytest.raises(LeaseLost), lease.transaction():
        raise AssertionError("its worker goes on")
