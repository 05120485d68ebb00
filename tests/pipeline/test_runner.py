"""A run of the pipeline, from a folder to a dataset that can be browsed. The processes are real ones."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from django.conf import settings
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from apps.datasets.models import Dataset, EmbeddingBlock, Sample
from apps.datasets.services import delete_dataset
from apps.pipeline.media import original_file, thumbnail_file, thumbnails_of
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.queue import sweep
from apps.pipeline.runner import Outcome, Runner
from apps.pipeline.services import process_folder
from apps.pipeline.similar import similar_to
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run, Transition
from apps.progress.selectors import progress_of
from apps.progress.signals import Change, progress_changed
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


def process(folder: Path) -> tuple[Run, Outcome]:
    """Queue a run over ``folder`` and process it here."""
    run = process_folder(folder, key="cats")
    return run, Runner(run.pk, threading.Event()).process()


@pytest.fixture
def on_change() -> Iterator[Callable[[Callable[[DatasetProgress], None]], None]]:
    """Register a function that is called with every state that is announced."""
    listeners: list[Any] = []

    def register(act: Callable[[DatasetProgress], None]) -> None:
        def listen(change: Change, **_: Any) -> None:
            act(progress_of(change.dataset_pk))

        listeners.append(listen)
        progress_changed.connect(listen, weak=False)

    yield register
    for listen in listeners:
        progress_changed.disconnect(listen)


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
    assert [(s.name, s.state, s.current, s.total) for s in shown.stages] == [
        ("index", "done", 46, 46),
        ("embed", "done", 44, 44),
    ]
    samples = Sample.objects.filter(dataset=run.dataset)
    assert samples.count() == 44
    assert sorted(samples.values_list("path", flat=True))[:2] == ["a/000000.jpg", "a/000001.jpg"]
    assert all(thumbnail_file(sample).stat().st_size for sample in samples)
    assert all(original_file(sample).is_file() for sample in samples)
    failures = dict(ItemFailure.objects.filter(run=run).values_list("item", "reason"))
    assert set(failures) == {"a/000007.jpg", "notes.jpg"}
    assert all(failures.values())
    assert not Chunk.objects.exists()
    assert Job.objects.get(pk=run.pk).claim == ""


def test_vectors_are_stored_with_their_name_and_dimensions(folder: Path) -> None:
    make_images(folder, 70)
    run, _ = process(folder)
    blocks = EmbeddingBlock.objects.filter(dataset=run.dataset)
    pks: list[int] = []
    for block in blocks:
        vectors = np.frombuffer(block.vectors, dtype="<f4").reshape(-1, block.dimensions)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
        assert block.embedder
        pks += np.frombuffer(block.sample_ids, dtype="<i8").tolist()
    assert sorted(pks) == sorted(Sample.objects.values_list("pk", flat=True))
    assert not Sample.objects.filter(embedding_block=None).exists()


def test_messages_are_real_counts(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 70)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    seen: list[DatasetProgress] = []
    on_change(seen.append)
    process(folder)
    messages = {shown.message for shown in seen}
    assert {"Indexing samples... 0/71", "Indexing samples... 71/71", "Generating embeddings... 70/70"} <= messages
    assert messages & {"Generating embeddings... 64/70", "Generating embeddings... 6/70"}
    states = [shown.state for shown in seen]
    assert sorted(set(states), key=states.index) == ["pending", "indexing", "embedding", "ready"]
    versions = [shown.version for shown in seen]
    assert versions == sorted(versions)
    percents = [shown.percent or 0 for shown in seen]
    assert percents == sorted(percents)
    assert len({shown.current for shown in seen if shown.state == "indexing"}) >= 3


def test_empty_folder_is_ready_with_nothing(folder: Path) -> None:
    folder.mkdir()
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.state, shown.current, shown.total, shown.failed) == ("ready", 0, 0, 0)


def test_folder_that_is_gone_is_an_error_that_says_so(folder: Path) -> None:
    folder.mkdir()
    run = process_folder(folder, key="cats")
    folder.rmdir()
    assert Runner(run.pk).process() is Outcome.ERROR
    shown = progress_of(run.dataset_id)
    assert shown.state == "error"
    assert shown.error == f"There is no folder {folder}."


def test_unknown_embedder_is_an_error_that_says_so(folder: Path, settings: Settings) -> None:
    make_images(folder, 2)
    settings.EMBEDDER = "tests.nothing.Here"
    run, outcome = process(folder)
    assert outcome is Outcome.ERROR
    assert "tests.nothing" in (progress_of(run.dataset_id).error or "")


def test_second_run_reads_only_what_changed(folder: Path) -> None:
    images = make_images(folder, 40)
    process(folder)
    before = {sample.path: sample for sample in Sample.objects.all()}
    images[0].unlink()
    make_images(folder / "changed", 1, seed=9)[0].rename(images[1])
    make_images(folder / "new", 2, seed=10)
    thumbnail_file(before["000002.jpg"]).unlink()
    dropped = [thumbnail_file(before[path]) for path in ("000000.jpg", "000001.jpg")]

    run, outcome = process(folder)

    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.run, shown.skipped, shown.current, shown.total) == (2, 37, 41, 41)
    after = {sample.path: sample for sample in Sample.objects.all()}
    assert set(after) == set(before) - {"000000.jpg"} | {"new/000000.jpg", "new/000001.jpg"}
    assert after["000001.jpg"].sha256 != before["000001.jpg"].sha256
    assert after["000003.jpg"].embedding_block_id == before["000003.jpg"].embedding_block_id
    assert after["000001.jpg"].embedding_block_id != before["000001.jpg"].embedding_block_id
    assert not any(path.exists() for path in dropped)
    assert all(thumbnail_file(sample).exists() for sample in after.values())
    assert not any(found.sample.path == "000000.jpg" for found in similar_to(after["000003.jpg"], 40))
    assert len({found.sample.pk for found in similar_to(after["000003.jpg"], 50)}) == 40


def test_copies_share_a_thumbnail_until_the_last_is_gone(folder: Path) -> None:
    [image] = make_images(folder, 1)
    copy = folder / "copy.jpg"
    copy.write_bytes(image.read_bytes())
    process(folder)
    copy.unlink()
    process(folder)
    assert thumbnail_file(Sample.objects.get()).exists()


def test_another_embedder_embeds_everything_anew(folder: Path, settings: Settings) -> None:
    make_images(folder, 3, size=(20, 30))
    process(folder)
    settings.EMBEDDER = "tests.pipeline.deadly.Deadly"
    process(folder)
    assert {(block.embedder, block.dimensions) for block in EmbeddingBlock.objects.all()} == {("deadly", 2)}


def test_paused_run_is_let_go_and_goes_on_where_it_was(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, key="cats")

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
    assert sweep() == 1
    assert sweep() == 0
    assert Runner(run.pk).process() is Outcome.READY
    assert done < set(Sample.objects.values_list("pk", flat=True))
    assert Sample.objects.count() == 200


def test_cancelled_run_ends_and_keeps_what_it_has(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, key="cats")

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
    run = process_folder(folder, key="cats")
    stop = threading.Event()
    on_change(lambda shown: stop.set() if shown.current >= 32 else None)
    assert Runner(run.pk, stop).process() is Outcome.RELEASED
    assert Job.objects.get(pk=run.pk).claim == ""
    assert Runner(run.pk, threading.Event()).process() is Outcome.READY
    assert Sample.objects.count() == 200


def test_deleting_a_dataset_under_a_run_stops_it_and_leaves_nothing(
    folder: Path, on_change: Callable[..., None]
) -> None:
    make_images(folder, 200)
    run = process_folder(folder, key="cats")
    dataset = run.dataset
    dataset_pk = dataset.pk

    def delete(shown: DatasetProgress) -> None:
        if shown.current == 32 and Dataset.objects.filter(pk=dataset_pk).exists():
            delete_dataset(Dataset.objects.get(pk=dataset_pk))

    on_change(delete)
    assert Runner(run.pk).process() is Outcome.SUPERSEDED
    for model in (Dataset, Run, Sample, EmbeddingBlock, Chunk, Job, Source, ItemFailure, Transition):
        assert not model._default_manager.exists(), model
    assert not thumbnails_of(dataset_pk).exists()


def test_worker_whose_claim_was_taken_writes_nothing_more(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, key="cats")

    def take_over(shown: DatasetProgress) -> None:
        if shown.current == 32:
            Job.objects.filter(pk=run.pk).update(claim="another's")

    on_change(take_over)
    assert Runner(run.pk).process() is Outcome.SUPERSEDED
    assert Sample.objects.count() == 32
    assert Job.objects.get(pk=run.pk).claim == "another's"


def test_run_that_another_worker_has_is_left_alone(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 40)
    run = process_folder(folder, key="cats")
    others: list[Outcome] = []
    # Which of the two chunks of 32 and 8 is done first is up to the pool.
    on_change(lambda shown: others.append(Runner(run.pk).process()) if 0 < shown.current < 40 else None)
    assert Runner(run.pk).process() is Outcome.READY
    assert set(others) == {Outcome.SUPERSEDED}


def test_process_that_dies_under_a_chunk_loses_nothing(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, key="cats")
    killed: list[int] = []

    def kill(shown: DatasetProgress) -> None:
        if shown.state == "indexing" and shown.current == 32 and not killed:
            for process in psutil.Process().children(recursive=True):
                if process.ppid() != os.getpid() and "forkserver" in " ".join(process.cmdline()):
                    killed.append(process.pid)
                    process.send_signal(signal.SIGKILL)

    on_change(kill)
    assert Runner(run.pk).process() is Outcome.READY
    assert killed
    shown = progress_of(run.dataset_id)
    assert (shown.current, shown.total, shown.failed) == (200, 200, 0)
    assert Sample.objects.count() == 200


def test_sample_that_kills_the_embedder_is_named(folder: Path, settings: Settings) -> None:
    make_images(folder, 3, size=(20, 30))
    make_images(folder / "wide", 1, size=(30, 20))
    settings.EMBEDDER = "tests.pipeline.deadly.Deadly"
    run, outcome = process(folder)
    assert outcome is Outcome.ERROR
    assert "wide/000000.jpg" in (progress_of(run.dataset_id).error or "")


def test_pixels_over_the_limit_are_a_failure(folder: Path, settings: Settings) -> None:
    make_images(folder, 1)
    make_images(folder / "large", 1, size=(200, 200))
    settings.MAX_IMAGE_PIXELS = 10_000
    run, _ = process(folder)
    assert list(ItemFailure.objects.filter(run=run).values_list("item", flat=True)) == ["large/000000.jpg"]


def test_link_out_of_the_folder_is_never_served(folder: Path, tmp_path: Path) -> None:
    [image] = make_images(folder, 1)
    process(folder)
    [secret] = make_images(tmp_path / "outside", 1)
    image.unlink()
    image.symlink_to(secret)
    with pytest.raises(ValueError, match=r"000000\.jpg"):
        original_file(Sample.objects.get())


def test_thumbnails_are_in_the_data_folder(folder: Path) -> None:
    make_images(folder, 1)
    process(folder)
    assert thumbnail_file(Sample.objects.get()).is_relative_to(settings.DATA_DIR)
