"""A job names the batch of its dataset, and batches are made, followed and steered on the command line."""

from __future__ import annotations

from dataset_progress import Run

from apps.batches.models import Batch
from apps.datasets.models import Dataset
from apps.progress import models
from apps.progress.transitions import State

from .test_cli import command
from .test_cli_steering import report


def members(batch_id: str = "nightly") -> set[str]:
    return set(Dataset.objects.filter(batches__batch_id=batch_id).values_list("dataset_id", flat=True))


def test_a_run_puts_its_dataset_into_a_batch(address: str) -> None:
    for name in ("cats", "dogs"):
        with Run(name, batch="nightly") as run:
            run.advance()
    assert members() == {"cats", "dogs"}
    assert set(models.Run.objects.values_list("state", flat=True)) == {"ready"}


def test_batches_on_the_command_line(address: str) -> None:
    report("cats", current=1)
    report("dogs", current=1)
    made = command("batch", "create", "nightly", "cats", "--limit", "2")
    assert (made.returncode, made.stdout) == (0, b"nightly: indexing 0% 0 of 1 ready.\n"), made.stderr
    assert command("batch", "add", "nightly", "dogs").stdout == b"nightly: indexing 0% 0 of 2 ready.\n"
    assert (Batch.objects.get().limit, members()) == (2, {"cats", "dogs"})
    assert command("batch", "pause", "nightly").stdout == b"cats: Pausing.\ndogs: Pausing.\n"
    assert command("batch", "remove", "nightly", "cats").returncode == 0
    assert members() == {"dogs"}
    unknown = command("batch", "show", "none")
    assert (unknown.returncode, b"There is no such batch." in unknown.stderr) == (3, True)
    assert command("batch", "retry", "nightly").returncode == 1  # its run is not over


def test_watching_ends_with_the_last_dataset(address: str) -> None:
    report("cats", current=1)
    report("cats", state=State.READY)
    command("batch", "create", "nightly", "cats")
    watched = command("batch", "watch", "nightly", "--poll", "0.1")
    assert (watched.returncode, watched.stdout) == (0, b"nightly: ready 100% 1 of 1 ready.\n")
