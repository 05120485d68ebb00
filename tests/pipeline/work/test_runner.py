"""A run of the pipeline, from a folder to a dataset that can be browsed. The processes are real ones."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import DatabaseError
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from apps.datasets.models import Dataset, EmbeddingBlock, Sample
from apps.datasets.services import delete_dataset
from apps.pipeline.images import scanning
from apps.pipeline.images.media import original_file, thumbnail_file, thumbnails_of
from apps.pipeline.images.similar import similar_to
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.queue import sweep
from apps.pipeline.services import OtherFolder, process_folder, queue_run
from apps.pipeline.work import chunks as planning
from apps.pipeline.work import steps
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run, Transition
from apps.progress.selectors import progress_of
from apps.progress.signals import Change, progress_changed
from apps.progress.snapshot import DatasetProgress
from tests.images import make_images
from tests.services import wait_until

from .processes import pool_processes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


def process(folder: Path) -> tuple[Run, Outcome]:
    """Queue a run over ``folder`` and process it here."""
    run = process_folder(folder, dataset_id="cats")
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
    assert progress_of(run.dataset_id).error == (
        f"No image was found in {folder}, where there were 3. Nothing was changed: is it mounted?"
    )
    assert Sample.objects.count() == 3
    assert all(thumbnail_file(sample).exists() for sample in Sample.objects.all())


def test_samples_in_a_folder_that_cannot_be_read_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(folder / "a", 2)
    make_images(folder / "a b", 1, seed=2)  # begins like the other
    make_images(folder / "b", 2, seed=1)
    process(folder)
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).rstrip("/").endswith("/a"):  # to root, nothing is unreadable
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (folder / "a b" / "000000.jpg").unlink()
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    assert list(ItemFailure.objects.filter(run=run).values_list("item", "reason")) == [("a", "permission denied")]
    assert set(Sample.objects.values_list("path", flat=True)) == {
        f"{name}/{number:06}.jpg" for name in "ab" for number in range(2)
    }


def test_folder_that_has_become_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    make_images(folder, 1)
    process(folder)
    sample = Sample.objects.get()
    make_images(tmp_path / "elsewhere", 1, seed=1)
    folder.rename(tmp_path / "before")
    folder.symlink_to(tmp_path / "elsewhere")
    run = queue_run(sample.dataset)
    assert Runner(run.pk).process() is Outcome.ERROR
    assert "has become a link" in (progress_of(run.dataset_id).error or "")
    with pytest.raises(ValueError, match="outside the folder"):
        original_file(sample)


def test_another_folder_is_taken_only_if_it_is_said(folder: Path, tmp_path: Path) -> None:
    make_images(folder, 2)
    process(folder)
    other = tmp_path / "other"
    make_images(other, 1, seed=1)
    with pytest.raises(OtherFolder, match=f"cats is made of {folder}, and not of {other}"):
        process_folder(other, dataset_id="cats")
    assert Source.objects.get().folder == str(folder)
    assert Run.objects.count() == 1
    assert Runner(process_folder(other, dataset_id="cats", replace=True).pk).process() is Outcome.READY
    assert Sample.objects.count() == 1


def test_scan_of_what_is_no_image_can_be_cancelled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text("words")
    monkeypatch.setattr(planning, "SECONDS_BETWEEN_REPORTS", 0.0)
    run = process_folder(folder, dataset_id="cats")
    progress.heartbeat(run.pk)  # so that there is a worker to obey
    progress.request_cancel(run.pk)
    Run.objects.filter(pk=run.pk).update(control=Run.Control.RUN)
    listed: list[str] = []

    def cancel(name: str) -> bytes:
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


def test_renumbered_files_keep_their_thumbnails(folder: Path) -> None:
    images = make_images(folder, 300)
    process(folder)
    images[0].unlink()
    for before, image in pairwise(images):
        image.rename(before)
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.current, shown.total, shown.failed) == (299, 299, 0)
    assert all(thumbnail_file(sample).exists() for sample in Sample.objects.all())
    assert sum(path.is_file() for path in thumbnails_of(run.dataset_id).rglob("*")) == 299
    assert not Sample.objects.filter(embedding_block=None).exists()


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
    settings.EMBEDDER = "tests.pipeline.work.deadly.Deadly"
    process(folder)
    assert {(block.embedder, block.dimensions) for block in EmbeddingBlock.objects.all()} == {("deadly", 2)}


def test_paused_run_is_let_go_and_goes_on_where_it_was(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    run = process_folder(folder, dataset_id="cats")

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
    run = process_folder(folder, dataset_id="cats")

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
    run = process_folder(folder, dataset_id="cats")
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
    run = process_folder(folder, dataset_id="cats")
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
    run = process_folder(folder, dataset_id="cats")

    def take_over(shown: DatasetProgress) -> None:
        if shown.current == 32:
            Job.objects.filter(pk=run.pk).update(claim="another's")

    on_change(take_over)
    assert Runner(run.pk).process() is Outcome.SUPERSEDED
    assert Sample.objects.count() == 32
    assert Job.objects.get(pk=run.pk).claim == "another's"


def test_run_that_another_worker_has_is_left_alone(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 40)
    run = process_folder(folder, dataset_id="cats")
    others: list[Outcome] = []
    # Which of the two chunks of 32 and 8 is done first is up to the pool.
    on_change(lambda shown: others.append(Runner(run.pk).process()) if 0 < shown.current < 40 else None)
    assert Runner(run.pk).process() is Outcome.READY
    assert set(others) == {Outcome.SUPERSEDED}


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


@pytest.mark.parametrize("embedder", ["Deadly", "Picky"])
def test_sample_that_the_embedder_cannot_take_is_one_failure(folder: Path, settings: Settings, embedder: str) -> None:
    make_images(folder, 3, size=(20, 30))
    make_images(folder / "wide", 1, size=(30, 20))
    settings.EMBEDDER = f"tests.pipeline.work.deadly.{embedder}"
    run, outcome = process(folder)
    assert outcome is Outcome.READY
    shown = progress_of(run.dataset_id)
    assert (shown.state, shown.current, shown.total, shown.failed) == ("ready", 4, 4, 1)
    failure = ItemFailure.objects.get(run=run)
    assert (failure.stage, failure.item) == ("embed", "wide/000000.jpg")
    assert embedder.lower() in failure.reason
    [left] = Sample.objects.filter(embedding_block=None)
    assert left.path == "wide/000000.jpg"
    # Once it can be embedded, it is.
    settings.EMBEDDER = "tests.pipeline.work.deadly.Patient"
    process(folder)
    assert not Sample.objects.filter(embedding_block=None).exists()


def test_embedder_that_can_take_nothing_is_an_error(folder: Path, settings: Settings) -> None:
    make_images(folder, 3, size=(30, 20))
    settings.EMBEDDER = "tests.pipeline.work.deadly.Picky"
    run, outcome = process(folder)
    assert outcome is Outcome.ERROR
    assert progress_of(run.dataset_id).error == "ValueError: too wide"


def test_sample_whose_thumbnail_is_gone_is_one_failure(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 40)
    run = process_folder(folder, dataset_id="cats")

    def lose(shown: DatasetProgress) -> None:
        if (shown.run, shown.state, shown.current) == (1, "indexing", 40):
            thumbnail_file(Sample.objects.get(path="000007.jpg")).unlink(missing_ok=True)

    on_change(lose)
    assert Runner(run.pk).process() is Outcome.READY
    assert list(ItemFailure.objects.values_list("item", "reason")) == [("000007.jpg", "its thumbnail is gone")]
    assert process(folder)[1] is Outcome.READY  # which makes it anew
    assert not Sample.objects.filter(embedding_block=None).exists()


@pytest.mark.parametrize("fails", ["results", "progress"])
def test_results_and_progress_of_a_chunk_are_written_together_or_not_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    make_images(folder, 40)
    run = process_folder(folder, dataset_id="cats")
    real = progress.report

    def report(run_pk: int, **said: Any) -> Run:
        if said.get("current"):
            raise DatabaseError("the connection is lost")
        return real(run_pk, **said)

    def put_rows(*args: Any, **options: Any) -> None:
        raise DatabaseError("the connection is lost")

    with monkeypatch.context() as patched:
        if fails == "results":
            patched.setattr(steps, "put_rows", put_rows)
        else:
            patched.setattr(progress, "report", report)
        with pytest.raises(DatabaseError):
            Runner(run.pk).process()
    assert not Sample.objects.exists()
    assert not Chunk.objects.filter(done=True).exists()
    assert progress_of(run.dataset_id).current == 0
    assert Runner(run.pk).process() is Outcome.READY
    assert Sample.objects.count() == 40


def test_lease_is_renewed_while_a_chunk_takes_longer_than_it(
    folder: Path, settings: Settings, on_change: Callable[..., None]
) -> None:
    make_images(folder, 40)
    settings.LEASE_SECONDS = 0.4
    run = process_folder(folder, dataset_id="cats")
    leases: list[Any] = []

    def take_long(shown: DatasetProgress) -> None:
        if 0 < shown.current < 40:
            first = Job.objects.values_list("lease_until").get(pk=run.pk)
            renewed = Job.objects.filter(pk=run.pk, lease_until__gt=first[0])
            wait_until(renewed.exists, seconds=30, what="the lease was not renewed")
            leases.append(first)

    on_change(take_long)
    assert Runner(run.pk).process() is Outcome.READY
    assert leases


def test_what_a_cancelled_run_leaves_is_cleared_up(folder: Path, on_change: Callable[..., None]) -> None:
    make_images(folder, 200)
    process(folder)
    before = {sample.pk: thumbnail_file(sample) for sample in Sample.objects.all()}
    make_images(folder, 200, seed=5)
    run = process_folder(folder, dataset_id="cats")
    indexed = Sample.objects.filter(seen_in_run=2)
    on_change(lambda shown: ask_once(run.pk) if indexed.exists() else None)

    def ask_once(run_pk: int) -> None:
        if Run.objects.unfinished().filter(pk=run_pk, control=Run.Control.RUN).exists():
            progress.request_cancel(run_pk)

    assert Runner(run.pk).process() is Outcome.CANCELLED
    replaced = [before.pop(pk) for pk in indexed.values_list("pk", flat=True)]
    assert 0 < len(replaced) < 200
    assert all(thumbnail.exists() for thumbnail in replaced)
    assert Chunk.objects.exists()
    later = process_folder(folder, dataset_id="cats")
    planning.clear_up()
    assert Chunk.objects.exists()  # what goes on may have found the thumbnail
    progress.cancel(later.pk)
    planning.clear_up()
    assert not Chunk.objects.exists()
    assert not any(thumbnail.exists() for thumbnail in replaced)
    assert all(thumbnail.exists() for thumbnail in before.values())


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
