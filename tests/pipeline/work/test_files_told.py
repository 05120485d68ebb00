"""A run accounts for every file of its folder: on the page, in the API, and by `process --wait`."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from apps.datasets.models import Dataset, Sample
from apps.pipeline.images.media import open_original
from apps.pipeline.images.scanning import LEAVES
from apps.pipeline.models import Source
from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.models import ItemFailure, Run
from apps.progress.selectors import failure_note, progress_of
from tests.images import make_images
from tests.pipeline.images.making import jpeg, with_hole
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)


def run(folder: Path, **options: Any) -> tuple[Run, str]:
    """Process a folder. Return the run, and the message with which it ended."""
    queued = process_folder(folder, dataset_id="cats", **options)
    assert Runner(queued.pk).process() is Outcome.READY
    return queued, progress_of(queued.dataset_id).message


def answer(path: str = "") -> dict[str, Any]:
    Dataset.objects.update(visibility="public")
    answered: dict[str, Any] = Client().get(f"/api/datasets/cats{path}").json()
    return answered


def test_other_files_are_told_everywhere(folder: Path) -> None:
    make_images(folder, 2)
    for name in ("a.mp4", "b.mp4", "labels.csv", "Thumbs.db"):
        (folder / name).write_bytes(b"words")
    _, message = run(folder)
    told = "3 other files: 2 .mp4, 1 .csv. Left out: 1 Thumbs.db."
    assert message == told
    assert answer()["not_looked_at"] == {
        "others": {".mp4": 2, ".csv": 1},
        "left_out": {"Thumbs.db": 1},
        "excluded": 0,
    }
    assert Client().get("/datasets/cats/").text.count(told) == 1
    (folder / "000001.jpg").unlink()
    assert run(folder)[1] == f"1 file is gone since the last run. {told}"
    assert Client().get("/datasets/cats/").text.count(told) == 1
    (folder / "a.mp4").unlink()
    (folder / "b.mp4").unlink()
    (folder / "labels.csv").unlink()
    (folder / "Thumbs.db").unlink()
    assert run(folder)[1] == ""


def test_folder_of_other_files_alone_is_not_called_empty(folder: Path) -> None:
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(b"words")
    _, message = run(folder)
    assert message == "3 other files: 3 .mp4."


def test_waiting_says_the_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(folder, 2)
    shutil.copy(folder / "000000.jpg", folder / "again.jpg")
    (folder / "a.mp4").write_bytes(b"words")

    def work(_: float) -> None:
        monkeypatch.undo()
        Runner(Run.objects.get().pk).process()

    monkeypatch.setattr("time.sleep", work)
    with pytest.raises(SystemExit) as left:
        call_command("process", str(folder), "--dataset", "cats", "--wait", stdout=StringIO())
    assert left.value.code == 0
    assert "3 samples. 1 sample is a copy of another. 1 other file: 1 .mp4." in capsys.readouterr().out


def test_patterns_of_a_dataset_stay_until_others_are_given(folder: Path) -> None:
    make_images(folder, 2)
    make_images(folder / "raw", 3, seed=1)
    _, message = run(folder, exclude="raw/")
    assert message == "1 excluded by patterns."
    assert Sample.objects.present().count() == 2
    assert answer()["not_looked_at"]["excluded"] == 1
    run(folder)
    assert Sample.objects.present().count() == 2
    run(folder, exclude="")
    assert Sample.objects.present().count() == 5
    _, message = run(folder, include="raw/")
    assert message == "2 files are gone or excluded since the last run. 2 excluded by patterns."
    assert Sample.objects.present().count() == 3
    _, message = run(folder, include="nothing-of-the-kind")
    assert message.startswith("3 files are gone or excluded since the last run.")
    run(folder, include="")
    assert Sample.objects.present().count() == 5


def test_patterns_on_the_command_line(folder: Path) -> None:
    make_images(folder, 1)
    call_command("process", str(folder), "--dataset", "cats", "--exclude", "a", "--exclude", "b/", stdout=StringIO())
    source = Source.objects.get()
    assert (source.exclude, source.include, source.follow_links) == ("a\nb/", "", False)
    with pytest.raises(CommandError, match="no pattern"):
        call_command("process", str(folder), "--dataset", "dogs", "--include", "!", stdout=StringIO())
    assert not Dataset.objects.filter(dataset_id="dogs").exists()


def test_patterns_on_the_page(folder: Path) -> None:
    make_images(folder, 1)
    run(folder)
    client, stranger = Client(), Client()
    client.force_login(User.objects.create_user("stef", is_staff=True))
    stranger.force_login(User.objects.create_user("sam"))
    page = "/datasets/cats/files/"
    Dataset.objects.update(visibility="public")
    assert stranger.post(page, {"exclude": "a"}).status_code == 403
    assert client.get(page).status_code == 200
    assert client.post(page, {"exclude": "!\n"}).status_code == 422
    assert client.post(page, {"exclude": "raw/\r\n\r\n*.png", "include": ""}).status_code == 302
    assert Source.objects.get().exclude == "raw/\n*.png"
    assert "raw/\n*.png" in client.get(page).text
    assert page in client.get("/datasets/cats/").text


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A folder of links to files outside it."""
    snapshot = tmp_path / "snapshots"
    snapshot.mkdir()
    for image in make_images(tmp_path / "blobs", 3):
        (snapshot / image.name).symlink_to(f"../blobs/{image.name}")
    return snapshot


def test_links_are_followed_where_the_setting_says(snapshot: Path, settings: Settings) -> None:
    queued, _ = run(snapshot)
    assert Sample.objects.count() == 0
    assert set(ItemFailure.objects.filter(run=queued).values_list("reason", flat=True)) == {LEAVES}
    settings.FOLLOW_LINKS_TO = [str(snapshot.parent / "blobs")]
    run(snapshot)
    sample = Sample.objects.get(path="000000.jpg")
    assert Sample.objects.present().count() == 3
    assert open_original(sample).read(2) == b"\xff\xd8"
    run(snapshot)
    assert Sample.objects.present().count() == 3
    (snapshot.parent / "blobs" / "000001.jpg").unlink()
    (snapshot / "000001.jpg").unlink()
    assert run(snapshot)[1] == "1 file is gone since the last run."


def test_links_are_followed_where_the_command_line_says(snapshot: Path, settings: Settings) -> None:
    call_command("process", str(snapshot), "--dataset", "cats", "--follow-links", stdout=StringIO())
    assert Runner(Run.objects.get().pk).process() is Outcome.READY
    assert Sample.objects.present().count() == 3
    # Whoever chooses a folder in the browser cannot say so.
    Source.objects.update(from_browser=True)
    with pytest.raises(ValueError, match="leads outside"):
        open_original(Sample.objects.first() or Sample())


def test_links_never_lead_into_the_data_of_the_program(snapshot: Path, settings: Settings) -> None:
    settings.DATA_DIR = str(snapshot.parent / "blobs")
    run(snapshot, follow_links=True)
    assert Sample.objects.count() == 0
    reasons = set(ItemFailure.objects.values_list("reason", flat=True))
    assert len(reasons) == 1
    assert reasons.pop().endswith("process --follow-links follows all but those into DATA_DIR")


def test_file_under_two_names_is_not_counted_twice_without_a_word(folder: Path) -> None:
    [image] = make_images(folder / "blobs", 1)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "cat.jpg").symlink_to("../blobs/000000.jpg")
    (folder / "hard.jpg").hardlink_to(image)
    _, message = run(folder)
    assert message == "2 samples are copies of another."
    assert answer()["copies"] == 2
    sample = Sample.objects.get(path="snapshots/cat.jpg")
    page = Client().get(f"/datasets/cats/samples/{sample.pk}/").text
    assert "blobs/000000.jpg" in page
    assert "hard.jpg" in page
    assert "2 copies of others" in Client().get("/datasets/cats/").text


def test_damaged_samples_are_marked_and_can_be_listed(folder: Path) -> None:
    make_images(folder, 2)
    (folder / "broken.jpg").write_bytes(with_hole(jpeg(), 4096))
    _, message = run(folder)
    assert message == "1 sample is damaged."
    assert answer()["damaged"] == 1
    sample = Sample.objects.exclude(damage="").get()
    assert sample.path == "broken.jpg"
    page = Client().get("/datasets/cats/").text
    assert "1 damaged" in page
    listed = Client().get("/datasets/cats/?damaged").text
    assert "broken.jpg" in listed
    assert "000000.jpg" not in listed
    assert "Damaged, shown as far as it goes" in Client().get(f"/datasets/cats/samples/{sample.pk}/").text


def test_damaged_samples_are_failures_where_that_is_the_setting(folder: Path, settings: Settings) -> None:
    make_images(folder, 1)
    (folder / "broken.jpg").write_bytes(with_hole(jpeg(), 4096))
    settings.DAMAGED = "fail"
    queued, message = run(folder)
    assert message == ""
    assert [failure.item for failure in ItemFailure.objects.filter(run=queued)] == ["broken.jpg"]


def test_failures_are_counted_by_reason(folder: Path) -> None:
    make_images(folder, 1)
    for number in range(3):
        (folder / f"page{number}.jpg").write_bytes(b"<!DOCTYPE html><p>Not found")
    (folder / "pointer.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00")
    run(folder)
    Dataset.objects.update(visibility="public")
    page = " ".join(Client().get("/datasets/cats/?tab=failures").text.split())
    assert page.index(">3</span>") < page.index("an HTML page, not an image</a>")
    assert page.index(">1</span>") < page.index("a Git LFS pointer: the file itself was not downloaded</a>")
    query = "failures_reason=an+HTML+page%2C+not+an+image"
    assert query in page
    some = Client().get(f"/datasets/cats/?{query}").text
    assert "page2.jpg" in some
    assert "pointer.png" not in some


def test_folder_whose_images_have_gone_names_what_is_there(folder: Path) -> None:
    for image in make_images(folder, 2):
        process(folder)
        image.unlink()
    (folder / "a.mp4").write_bytes(b"words")
    queued, outcome = process(folder)
    assert outcome is Outcome.ERROR
    assert failure_note(queued).endswith("is it mounted? 1 other file: 1 .mp4.")
