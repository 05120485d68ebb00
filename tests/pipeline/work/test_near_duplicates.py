"""A run groups near-duplicates, and similar images are found however they are turned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from django.test import Client
from PIL import Image
from pytest_django import Settings

from apps.datasets.models import Dataset, NearDuplicate, Sample
from apps.pipeline.images import duplicates
from apps.pipeline.images.similar import similar_to
from apps.pipeline.services import process_folder
from apps.pipeline.work import duplicates_step, embed_step, runner
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.health import Health
from apps.progress.models import Run, Stage
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.pipeline.images.test_embedders import photo
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)

OnChange = Callable[[Callable[[DatasetProgress], None]], None]

TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: "mirrored",
    Image.Transpose.FLIP_TOP_BOTTOM: "mirrored top to bottom",
    Image.Transpose.ROTATE_90: "rotated by 270°",
    Image.Transpose.ROTATE_180: "rotated by 180°",
    Image.Transpose.ROTATE_270: "rotated by 90°",
    Image.Transpose.TRANSPOSE: "mirrored, rotated by 90°",
    Image.Transpose.TRANSVERSE: "mirrored, rotated by 270°",
}


def groups() -> list[set[str]]:
    found: dict[int, set[str]] = {}
    for near in NearDuplicate.objects.select_related("sample"):
        found.setdefault(near.group, set()).add(near.sample.path)
    return sorted(found.values(), key=min)


def test_near_duplicates_are_grouped(folder: Path) -> None:
    make_images(folder, 20)
    first = photo(1, (640, 480))
    first.save(folder / "a.jpg", quality=95)
    first.save(folder / "b.jpg", quality=40)
    first.resize((320, 240)).save(folder / "c.png")
    shutil.copy(folder / "000003.jpg", folder / "z.jpg")
    process(folder)
    assert groups() == [{"000003.jpg", "z.jpg"}, {"a.jpg", "b.jpg", "c.png"}]
    Dataset.objects.update(visibility="public")
    page = Client().get("/datasets/cats/duplicates/").text
    assert all(f'alt="{name}"' in page for name in ("000003.jpg", "z.jpg", "a.jpg", "b.jpg", "c.png"))
    assert "000004.jpg" not in page
    copies = Client().get("/datasets/cats/duplicates/?from=0.999&after=x").text
    assert 'alt="z.jpg"' in copies
    for name in ("b.jpg", "c.png"):
        (folder / name).unlink()
    process(folder)
    assert 'alt="a.jpg"' not in Client().get("/datasets/cats/duplicates/").text  # it is alone now
    photo(2).save(folder / "z.jpg")
    process(folder)
    assert {"000003.jpg", "z.jpg"} not in groups()


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch, on_change: OnChange) -> list[str]:
    """The shares of a search that are told, in one step for each pair of three chunks of vectors."""
    monkeypatch.setattr(duplicates_step, "SECONDS_BETWEEN_REPORTS", 0)
    monkeypatch.setattr(duplicates, "BATCH", 1)
    monkeypatch.setattr(duplicates, "_BLOCKS_AT_ONCE", 1)
    monkeypatch.setattr(embed_step, "EMBED_CHUNK", 3)
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0)
    told: list[str] = []

    def tell(state: DatasetProgress) -> None:
        if state.message.startswith(duplicates_step.WORDS):
            told.append(state.message.removeprefix(duplicates_step.WORDS).strip())

    on_change(tell)
    return told


def test_the_share_of_the_search_that_is_done_is_told(folder: Path, shares: list[str]) -> None:
    make_images(folder, 9)
    process(folder)
    assert shares == ["", "8%", "33%", "41%", "66%", "91%", "99%"]


def test_a_long_search_is_no_standstill(folder: Path, shares: list[str], on_change: OnChange) -> None:
    make_images(folder, 9)
    seen: list[Health | None] = []

    def let_an_hour_pass(state: DatasetProgress) -> None:
        if shares:
            seen.append(state.health)
            hour = timedelta(hours=1)
            Run.objects.update(progressed_at=F("progressed_at") - hour)
            Stage.objects.filter(state="active").update(worked_until=F("worked_until") - hour, usual=100.0)

    on_change(let_an_hour_pass)
    process(folder)
    assert seen[:-1] == ["live"] * 7
    assert seen[-1] is None  # it is ready


@pytest.mark.parametrize(
    ("ask", "outcome"),
    [(progress.request_cancel, Outcome.CANCELLED), (progress.request_pause, Outcome.RELEASED)],
)
def test_the_search_stops_between_two_products(
    folder: Path, shares: list[str], on_change: OnChange, ask: Callable[[int], object], outcome: Outcome
) -> None:
    make_images(folder, 8)
    shutil.copy(folder / "000003.jpg", folder / "z.jpg")
    run = process_folder(folder, dataset_id="cats")

    asked: list[str] = []

    def ask_once(_: DatasetProgress) -> None:
        if not asked and shares[-1:] == ["33%"]:
            asked.extend(shares)
            ask(run.pk)

    on_change(ask_once)
    assert Runner(run.pk).process() is outcome
    assert asked == ["", "8%", "33%"]
    assert set(shares[3:]) <= {"33%"}  # no product came after it
    if outcome is Outcome.RELEASED:
        progress.request_resume(run.pk)
        assert Runner(run.pk).process() is Outcome.READY
        assert groups() == [{"000003.jpg", "z.jpg"}]


def test_pages_of_groups(folder: Path) -> None:
    images = make_images(folder, 25)
    for image in images:
        for number in range(14 if image.name == "000000.jpg" else 1):
            shutil.copy(image, folder / f"copy{number}-{image.name}")
    process(folder)
    Dataset.objects.update(visibility="public")
    first = Client().get("/datasets/cats/duplicates/").text
    assert first.count("<section") == 20
    assert "15 samples" in first
    assert first.count("copy") // 2 >= 11  # of a large group the first are shown
    after = first.split("after=")[1].split('"')[0]
    assert Client().get(f"/datasets/cats/duplicates/?after={after}").text.count("<section") == 5


def test_the_search_can_be_turned_off(folder: Path, settings: Settings) -> None:
    settings.NEAR_DUPLICATES = 2
    [image] = make_images(folder, 1)
    shutil.copy(image, folder / "again.jpg")
    process(folder)
    assert not NearDuplicate.objects.exists()


def test_turned_images_are_similar_and_copies_are_told(folder: Path) -> None:
    folder.mkdir()
    for seed in range(60):
        photo(seed).save(folder / f"{seed:03}.jpg", quality=90)
    for number, turn in enumerate(TURNS):
        photo(0).transpose(turn).save(folder / f"turned{number}.jpg", quality=80)
    shutil.copy(folder / "000.jpg", folder / "copy.jpg")
    process(folder)
    found = similar_to(Sample.objects.get(path="000.jpg"))
    assert [(one.sample.path, one.turn, one.is_copy) for one in found[:1]] == [("copy.jpg", "", True)]
    told = {one.sample.path: one.turn for one in found[1:8]}
    assert told == {f"turned{number}.jpg": words for number, words in enumerate(TURNS.values())}
    assert all(one.score > 0.97 for one in found[:8])
    sample = Sample.objects.get(path="000.jpg")
    Dataset.objects.update(visibility="public")
    page = Client().get(f"/datasets/cats/samples/{sample.pk}/?similar").text
    assert "identical file" in page
    assert "rotated by 90°" in page
