"""How many samples a dataset has is kept, and is after each chunk what counting its rows would say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.datasets.models import Dataset, Sample
from apps.datasets.services import add_to_sample_count, delete_dataset, forget_missing_samples, set_sample_count
from apps.pipeline.models import Job, Source
from apps.pipeline.services import process_folder
from apps.pipeline.work import chunks
from apps.pipeline.work.lease import hold
from apps.pipeline.work.missing_step import mark_missing_samples
from apps.pipeline.work.removal import delete_forgotten_samples
from apps.pipeline.work.runner import Outcome
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.pages.test_plans import recorded
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)

OnChange = Callable[[Callable[[DatasetProgress], None]], None]


@pytest.fixture
def counts(on_change: OnChange, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """At each change that was announced: the count that was kept, and that of the rows."""
    monkeypatch.setattr(chunks, "INDEX_CHUNK", 2)
    counts: list[tuple[int, int]] = []

    def count(_: DatasetProgress) -> None:
        if (kept := Dataset.objects.get().sample_count) is not None:
            counts.append((kept, Sample.objects.present().count()))

    on_change(count)
    return counts


def test_count_follows_every_chunk_of_every_run(folder: Path, tmp_path: Path, counts: list[tuple[int, int]]) -> None:
    make_images(folder, 5)
    (folder / "broken.jpg").write_bytes(b"no image")
    assert process(folder)[1] is Outcome.READY
    assert len(set(counts)) >= 3, "after each chunk"

    (folder / "000000.jpg").rename(tmp_path / "away.jpg")
    make_images(folder, 1, seed=1)[0].rename(folder / "new.jpg")
    (folder / "000001.jpg").write_bytes(b"no image any more")
    process(folder)
    assert Dataset.objects.get().sample_count == 5, "one is gone, one is new, and a damaged file keeps its sample"

    (folder / "new.jpg").unlink()
    (folder / "000002.jpg").unlink()
    process(folder)
    assert Dataset.objects.get().sample_count == 3

    (tmp_path / "away.jpg").rename(folder / "000002.jpg")
    process(folder)
    assert Dataset.objects.get().sample_count == 4

    assert forget_missing_samples(Dataset.objects.get()) == 2
    delete_forgotten_samples(threading.Event())
    assert Dataset.objects.get().sample_count == Sample.objects.count() == 4
    assert [kept for kept, _ in counts] == [counted for _, counted in counts]


def test_count_falls_with_the_samples_that_become_missing(folder: Path) -> None:
    paths = make_images(folder, 4)
    process(folder)
    for path in paths[:2]:
        path.unlink()
    run = process_folder(folder, dataset_id="cats")
    job, source = Job.objects.get(run=run), Source.objects.get()
    job.mounts = source.mounts  # as the scan finds them
    with hold(run.pk) as lease:
        assert lease is not None
        mark_missing_samples(job, source, lease, lambda: None)
    assert Sample.objects.present().count() == 2
    assert Dataset.objects.get().sample_count == 2


@pytest.mark.parametrize("noted", [None, 7])
def test_samples_of_an_earlier_version_are_counted_when_the_next_run_begins(
    folder: Path, on_change: OnChange, noted: int | None
) -> None:
    make_images(folder, 3)
    process(folder)
    set_sample_count(Dataset.objects.get().pk, noted)
    assert Dataset.objects.get().count_samples() == (3 if noted is None else noted)
    kept: list[int | None] = []
    on_change(lambda progress: kept.append(Dataset.objects.get().sample_count))
    process(folder)
    assert kept[0] == noted
    assert kept[-3:] == [3, 3, 3]


def test_count_that_cannot_be_true_is_given_up(db: None) -> None:
    dataset = Dataset.objects.create(dataset_id="cats")
    assert dataset.count_samples() == 0
    set_sample_count(dataset.pk, 3)
    add_to_sample_count(dataset.pk, -3)
    assert Dataset.objects.get().sample_count == 0
    add_to_sample_count(dataset.pk, -1)
    assert Dataset.objects.get().sample_count is None
    add_to_sample_count(dataset.pk, 5)
    assert Dataset.objects.get().sample_count is None
    set_sample_count(dataset.pk, 2)
    assert Dataset.objects.get().sample_count == 2
    delete_dataset(dataset)
    add_to_sample_count(dataset.pk, 1)
    assert Dataset.with_deleted.get().sample_count == 2, "it would wait for whoever removes it"


@pytest.mark.parametrize("address", ["/datasets/cats/", "/datasets/cats/?tab=samples", "/api/datasets/cats"])
def test_no_page_counts_the_samples(folder: Path, client: Client, address: str) -> None:
    make_images(folder, 3)
    process(folder)
    client.force_login(User.objects.create_superuser("admin"))
    with recorded() as statements:
        assert client.get(address).status_code == 200
    counting = [sql for sql, _ in statements if "COUNT(" in sql and "datasets_sample" in sql]
    assert all('"missing_since" IS NOT NULL' in sql or '"missing_since" >' in sql for sql in counting), counting
