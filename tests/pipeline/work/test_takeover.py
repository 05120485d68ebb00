"""Promise 8: a worker killed at any moment is followed by another, which goes on after the last committed chunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.datasets.models import EmbeddingBlock, Sample
from apps.pipeline.services import process_folder
from apps.progress.models import Run
from apps.progress.selectors import progress_of
from tests.images import make_images
from tests.processes import kill, worker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ENV = {"LEASE_SECONDS": "1.5", "PIPELINE_PROCESSES": "2", "EMBEDDER": "tests.pipeline.work.deadly.Held"}


def _ready(run: Run) -> bool:
    shown = progress_of(run.dataset_id)
    assert shown.state != "error", shown.error
    return shown.state == "ready"


@pytest.mark.parametrize("state", ["indexing", "embedding"])
def test_run_of_a_killed_worker_goes_on(tmp_path: Path, state: str) -> None:
    images = make_images(tmp_path / "images", 600, size=(400, 300))
    run = process_folder(tmp_path / "images", dataset_id="cats")

    def under_way() -> bool:
        shown = progress_of(run.dataset_id)
        assert not shown.is_finished, "the machine was too fast to kill the worker in mid-run"
        return shown.state == state and shown.current > 0

    gate = tmp_path / "gate"  # behind which the embedder waits to be killed
    gate.touch()
    with worker(tmp_path / "first.log", ENV | {"GATE": str(gate)}) as first:
        wait_until(under_way, seconds=60, what=f"the run was not {state}", every=0.005)
        kill(first)
    committed = set(Sample.objects.values_list("path", flat=True))
    blocks = set(EmbeddingBlock.objects.values_list("pk", flat=True))
    assert 0 < len(committed) <= len(images)
    # What was committed is not read again: it could not be.
    for path in committed:
        (tmp_path / "images" / path).write_bytes(b"")

    with worker(tmp_path / "second.log", ENV):
        wait_until(lambda: _ready(run), seconds=90, what="the run did not end")

    shown = progress_of(run.dataset_id)
    assert (shown.current, shown.total, shown.failed, shown.run) == (600, 600, 0, 1)
    paths = list(Sample.objects.values_list("path", flat=True))
    assert sorted(paths) == sorted(image.name for image in images)
    assert blocks <= set(EmbeddingBlock.objects.values_list("pk", flat=True))
    assert not Sample.objects.filter(embedding_block=None).exists()
