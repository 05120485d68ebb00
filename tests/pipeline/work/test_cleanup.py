"""What is deleted when it is no longer needed, and what is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from apps.datasets.models import Sample
from apps.datasets.services import forget_missing_samples
from apps.pipeline.images.media import thumbnail_file, thumbnail_folder
from apps.pipeline.models import Chunk
from apps.pipeline.services import process_folder
from apps.pipeline.work.cleanup import delete_leftover_chunks
from apps.pipeline.work.removal import delete_forgotten_samples
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress import services as progress
from apps.progress.models import Run
from apps.progress.selectors import progress_of
from tests.images import make_images
from tests.pipeline.runs import process

pytestmark = pytest.mark.django_db(transaction=True)


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
    assert all(thumbnail_file(sample).exists() for sample in Sample.objects.present())
    assert sum(path.is_file() for path in thumbnail_folder(run.dataset_id).rglob("*")) == 299
    assert not Sample.objects.present().filter(embedding_block=None).exists()


def test_copies_share_a_thumbnail_until_the_last_is_forgotten(folder: Path) -> None:
    [image] = make_images(folder, 1)
    make_images(folder / "others", 1, seed=1)
    copy = folder / "copy.jpg"
    copy.write_bytes(image.read_bytes())
    process(folder)
    thumbnail = thumbnail_file(Sample.objects.get(path="copy.jpg"))
    for file in (copy, image):
        file.unlink()
        run, _ = process(folder)
        assert thumbnail.exists()
        forget_missing_samples(run.dataset)
        delete_forgotten_samples(threading.Event())
        assert thumbnail.exists() == (file is copy)
    assert Sample.objects.count() == 1


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
    delete_leftover_chunks()
    assert Chunk.objects.exists()  # what goes on may have found the thumbnail
    progress.cancel(later.pk)
    delete_leftover_chunks()
    assert not Chunk.objects.exists()
    assert not any(thumbnail.exists() for thumbnail in replaced)
    assert all(thumbnail.exists() for thumbnail in before.values())
