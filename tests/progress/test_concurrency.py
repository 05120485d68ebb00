"""Four processes write side by side while a fifth reads. On SQLite none of them ever meets a locked database."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from django.conf import settings

from apps.datasets.models import Dataset
from apps.progress import selectors, services
from apps.progress.models import Run
from apps.progress.services import StagePlan
from apps.progress.snapshot import DatasetProgress
from tests.processes import database_url

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES = 4
WRITES = 2000


def begin(dataset_id: str) -> Run:
    run = services.begin_run(Dataset.objects.create(dataset_id=dataset_id), [StagePlan("index", total=WRITES)])
    return services.start_stage(run.pk, "index")


def write_and_watch(writers: list[list[int]], writes: int, watched: list[int]) -> dict[int, list[DatasetProgress]]:
    """Start a process for each list of runs; what was read meanwhile, by dataset, without repetitions."""
    env = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "progress_site.settings"}
    read: dict[int, list[DatasetProgress]] = {pk: [] for pk in watched}
    with ExitStack() as stack:
        processes = []
        for runs in writers:
            command = [sys.executable, "-m", "tests.progress.writer", *map(str, runs), "--writes", str(writes)]
            process = subprocess.Popen(
                command, env=env, cwd=Path(settings.BASE_DIR), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )  # fmt: skip
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        while any(process.poll() is None for process in processes):
            # A watcher's pace, not a loop that takes the processor from the writers.
            with suppress(subprocess.TimeoutExpired):
                next(process for process in processes if process.returncode is None).wait(0.05)
            for pk, progress in selectors.progress_of_many(watched).items():
                if not read[pk] or read[pk][-1].version != progress.version:
                    read[pk].append(progress)
        errors = [process.communicate()[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * len(processes), errors
        assert "locked" not in "".join(errors)
    return read


def test_processes_that_each_report_to_their_own_dataset_and_to_one_of_all() -> None:
    own = [begin(f"own-{number}") for number in range(PROCESSES)]
    shared = begin("shared")
    # Half of the writes of each process go to its own dataset, half to the one that all of them write.
    watched = [run.dataset_id for run in (*own, shared)]
    read = write_and_watch([[run.pk, shared.pk] for run in own], WRITES // 2, watched)

    for run in own:
        progress = selectors.progress_of(run.dataset_id)
        assert progress.current == WRITES // 2
        assert progress.version == 2 + WRITES // 2
    # Each report was a change, so a lost one would be missing from the versions.
    assert selectors.progress_of(shared.dataset_id).version == 2 + PROCESSES * WRITES // 2
    assert selectors.progress_of(shared.dataset_id).current == WRITES // 2
    for seen in read.values():
        assert len(seen) > 2, "the reader was shut out"
        assert all(earlier.version < later.version for earlier, later in pairwise(seen))
        assert all((earlier.percent or 0) <= (later.percent or 0) for earlier, later in pairwise(seen))
