"""A retry of a folder: all of it, or the files alone that failed."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path

import pytest
from PIL import Image

from apps.datasets.models import Dataset, Sample
from apps.pipeline.models import Chunk, Job, Source
from apps.pipeline.retries import take_retries
from apps.pipeline.work.lease import hold
from apps.pipeline.work.missing_step import mark_missing_samples
from apps.pipeline.work.retry_step import plan_retry
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services
from apps.progress.control import Action
from apps.progress.models import Head, ItemFailure, Run
from tests.processes import worker
from tests.services import wait_until

from .runs import process


def write_image(path: Path, size: tuple[int, int] = (20, 10)) -> None:
    """Write an image of a colour that its name gives."""
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, f"#{zlib.crc32(path.name.encode()) & 0xFFFFFF:06x}").save(path)


pytestmark = pytest.mark.django_db(transaction=True)


def failed_items() -> set[str]:
    return set(ItemFailure.objects.filter(run=Run.objects.latest("pk")).values_list("item", flat=True))


@pytest.fixture
def processed(folder: Path) -> Run:
    """A run over three images, of which two cannot be read."""
    for name in "abc":
        write_image(folder / f"{name}.png")
    for name in "bc":
        (folder / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run, _ = process(folder)
    assert failed_items() == {"b.png", "c.png"}
    return run


def retry(run: Run, action: str) -> tuple[Run, Outcome]:
    assert services.request(Action(action), [run.dataset_id], "ann")[run.dataset_id].changed
    assert take_retries() == 1
    again = Run.objects.latest("pk")
    return again, Runner(again.pk, threading.Event()).process()


def test_only_what_failed_is_read_again(processed: Run, folder: Path) -> None:
    write_image(folder / "b.png", size=(31, 17))
    write_image(folder / "new.png")
    (folder / "a.png").unlink()
    again, outcome = retry(processed, "retry-failed")
    assert (outcome, again.retry, again.started_by) == (Outcome.READY, "failed", "ann")
    assert failed_items() == {"c.png"}  # the one that was repaired is off the list
    assert set(Sample.objects.present().values_list("path", flat=True)) == {"a.png", "b.png"}  # the rest is kept
    assert all(sample.embedding_block_id for sample in Sample.objects.all())
    assert Run.objects.get(pk=again.pk).skipped == 0
    whole, _ = retry(again, "retry")
    assert whole.retry == "all"
    assert set(Sample.objects.present().values_list("path", flat=True)) == {"b.png", "new.png"}


def test_a_failed_file_that_is_gone_is_off_the_list(processed: Run, folder: Path) -> None:
    for name in "bc":
        (folder / f"{name}.png").unlink()
    _, outcome = retry(processed, "retry-failed")
    assert (outcome, failed_items()) == (Outcome.READY, set())
    assert services.request(Action.RETRY_FAILED, [processed.dataset_id], "")[processed.dataset_id].refusal is not None


def test_failures_that_are_not_listed_take_a_scan(processed: Run, folder: Path) -> None:
    Run.objects.update(failed=3)
    write_image(folder / "new.png")
    retry(processed, "retry-failed")
    assert Sample.objects.filter(path="new.png").exists()
    assert not Job.objects.latest("pk").only_failed


def test_a_retry_that_is_interrupted_goes_on(processed: Run, folder: Path) -> None:
    services.request(Action.RETRY_FAILED, [processed.dataset_id], "ann")
    take_retries()
    again = Run.objects.latest("pk")
    stopped = threading.Event()
    stopped.set()
    assert Runner(again.pk, stopped).process() == Outcome.RELEASED
    services.request_pause(again.pk, "ann")
    assert Runner(again.pk, threading.Event()).process() == Outcome.RELEASED
    assert Run.objects.get(pk=again.pk).control_seen_at is not None
    services.request_resume(again.pk, "ann")
    assert Runner(again.pk, threading.Event()).process() == Outcome.READY
    assert not Chunk.objects.exists()


class Stopped(Exception):
    """What ends a step between two files."""


def test_what_is_asked_is_seen_between_two_files_that_are_looked_for(processed: Run, folder: Path) -> None:
    looks: list[str] = []

    def look() -> None:
        looks.append("")
        if len(looks) == 2:
            raise Stopped

    services.request(Action.RETRY_FAILED, [processed.dataset_id], "ann")
    take_retries()
    job, source = Job.objects.latest("pk"), Source.objects.get()
    with hold(job.pk) as lease:
        assert lease is not None
        with pytest.raises(Stopped):
            plan_retry(job, source, lease, look)
        assert not Chunk.objects.exists()
        looks.clear()
        Sample.objects.update(seen_in_run=0)
        (folder / "a.png").unlink()
        sample = Sample.objects.get()
        sample.pk, sample.path = None, "d.png"
        sample.save()
        with pytest.raises(Stopped):
            mark_missing_samples(job, source, lease, look)
    assert not Sample.objects.filter(missing_since__isnull=False).exists()


def test_a_retry_is_taken_once_by_two_workers(processed: Run) -> None:
    services.request(Action.RETRY, [processed.dataset_id], "ann")
    heads = list(Head.objects.all())
    assert take_retries() == 1
    assert take_retries() == 0
    services.cancel(Run.objects.latest("pk").pk)
    # The second worker read the request before the first took it, and comes when the run is over.
    assert all(head.retry for head in heads)
    assert (take_retries(), Run.objects.count()) == (0, 2)


def test_reporters_keep_their_retries(db: None) -> None:
    dataset = Dataset.objects.create(dataset_id="dogs")
    services.finish(services.begin_run(dataset).pk)
    services.request(Action.RETRY, [dataset.pk], "ann")
    assert take_retries() == 0
    assert Head.objects.get().retry == "all"


@pytest.mark.long
def test_a_worker_takes_a_retry_by_itself(processed: Run, folder: Path, tmp_path: Path) -> None:
    write_image(folder / "b.png")
    with worker(tmp_path / "log"):
        services.request(Action.RETRY_FAILED, [processed.dataset_id], "ann")
        wait_until(
            lambda: Run.objects.filter(number=2, state="ready").exists(),
            seconds=90,
            what="it was not done again",
        )
    assert failed_items() == {"c.png"}
