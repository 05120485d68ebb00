"""A folder whose subfolders are datasets is processed as a batch."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.batches.models import Batch, BatchMember
from apps.datasets.models import Dataset
from apps.pipeline.models import Job, Source
from apps.pipeline.queue import admit_held
from apps.pipeline.subfolders import dataset_id_of
from apps.progress.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("cats", "dogs & wolves", ".hidden", "ünder"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("no folder")
    return tmp_path


def test_each_subfolder_is_a_dataset_of_the_batch(folders: Path) -> None:
    out = StringIO()
    call_command("process_each", str(folders), batch="nightly", limit=1, stdout=out)
    assert out.getvalue() == "Queued 3 of the batch nightly.\n"
    batch = Batch.objects.get()
    assert (batch.limit, set(batch.datasets.values_list("dataset_id", flat=True))) == (
        1, {"cats", "dogs.wolves", "nder"}
    )  # fmt: skip
    assert BatchMember.objects.filter(is_limited=True).count() == 3
    assert Source.objects.get(dataset__dataset_id="dogs.wolves").folder == str(folders.resolve() / "dogs & wolves")
    assert Job.objects.filter(is_held=True).count() == 3
    assert admit_held() == 1


def test_what_cannot_be_queued_is_told_and_hinders_no_other(folders: Path) -> None:
    other = Dataset.objects.create(dataset_id="cats")
    Source.objects.create(dataset=other, folder="/elsewhere")
    err = StringIO()
    with pytest.raises(CommandError, match="1 were not queued"):
        call_command("process_each", str(folders), batch="nightly", stdout=StringIO(), stderr=err)
    assert "cats: cats reads from /elsewhere" in err.getvalue()
    assert Run.objects.count() == 2
    assert not BatchMember.objects.filter(dataset=other).exists()
    with pytest.raises(CommandError, match="3 were not queued"):
        call_command("process_each", str(folders), batch="nightly", stdout=StringIO(), stderr=StringIO())


@pytest.mark.parametrize(("path", "batch"), [("nowhere", "nightly"), (".", "no id")])
def test_what_is_refused(folders: Path, path: str, batch: str) -> None:
    with pytest.raises(CommandError):
        call_command("process_each", str(folders / path), batch=batch, stdout=StringIO())
    assert not Batch.objects.exists()


def test_names_that_would_be_the_same_dataset(folders: Path) -> None:
    (folders / "dogs + wolves").mkdir()
    with pytest.raises(CommandError, match=r"would both be the dataset dogs\.wolves"):
        call_command("process_each", str(folders), batch="nightly", stdout=StringIO())
    assert dataset_id_of("…") == ""
