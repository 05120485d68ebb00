"""In a notebook, cells report, can be run again, can await in the notebook's event loop, and are held and cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connections
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from apps.progress import services
from apps.progress.models import Run

from .conftest import ended, shown, stays, until

SOURCES = Path(__file__).resolve().parent.parent.parent / "client/src"
pytestmark = pytest.mark.usefixtures("address")


@contextmanager
def notebook(monkeypatch: pytest.MonkeyPatch, *cells: object) -> Iterator[NotebookClient]:
    """A notebook of these cells, with a kernel that has the client."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    client = NotebookClient(new_notebook(cells=list(cells)), timeout=120, kernel_name="python3")
    client.create_kernel_manager().shutdown_wait_time = 120  # for its last word
    with client.setup_kernel():
        yield client


def test_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    track = new_code_cell("from dataset_progress import track\nfor _ in track(range(30), dataset='cats'):\n    pass")
    fail = new_code_cell("""
def work():
    for number in track(range(9), dataset='rows', linger=60):
        if number == 5: raise ValueError('a bad row')
work()
""")
    wait = new_code_cell("""
async def items():
    for number in range(40):
        yield number
async for _ in track(items(), dataset='dogs', total=40):
    pass
""")
    bar = new_code_cell(
        "from dataset_progress.tqdm import tqdm\nfor n in tqdm(range(9), dataset='bars', linger=60):\n    assert n < 5"
    )
    blocks = new_code_cell("from dataset_progress._callers import is_in_event_loop as is_in\nassert not is_in()")
    awaits = new_code_cell("import asyncio\nassert await asyncio.sleep(0) is None and is_in()")
    with notebook(monkeypatch, track, track, wait, bar, fail, blocks, awaits) as client:
        client.execute_cell(track, 0)
        assert (ended().state, shown().current, shown().run) == ("ready", 30, 1)  # while the kernel lives on
        client.execute_cell(track, 1)
        assert until(lambda progress: progress.run == 2 and progress.is_finished).state == "ready"
        client.execute_cell(wait, 2)
        client.execute_cell(blocks, 2)
        client.execute_cell(awaits, 2)
        assert (ended("dogs").state, shown("dogs").current) == ("ready", 40)
        for cell, dataset, error in ((bar, "bars", "AssertionError"), (fail, "rows", "ValueError: a bad row")):
            with pytest.raises(CellExecutionError):
                client.execute_cell(cell, 3)
            assert (ended(dataset).state, shown(dataset).current) == ("error", 5)
            assert (shown(dataset).error or "").startswith(error)


# Each counts for ever on the dataset that it is named after.
STEERED = {
    "by-hand": """
import time
from dataset_progress.tqdm import capture_tqdm, tqdm
bar = tqdm(dataset='by-hand', linger=60)
while True:
    bar.update()
    time.sleep(0.01)
""",
    "awaited": """
import asyncio
async def items():
    while True:
        yield await asyncio.sleep(0.01)
async for _ in tqdm(items(), dataset='awaited', linger=60):
    pass
""",
    "captured": """
from itertools import count
from tqdm.auto import tqdm as auto
with capture_tqdm('captured'):
    for _ in auto(count()):
        time.sleep(0.01)
""",
}


def hold_and_cancel(dataset: str) -> None:
    """Pause the run of a dataset, see that it stands, and cancel it."""
    until(lambda progress: progress.current > 0, dataset)
    run = Run.objects.get(dataset__dataset_id=dataset)
    services.request_pause(run.pk)
    until(lambda progress: stays(dataset), dataset)
    services.request_cancel(run.pk)
    connections.close_all()


def test_cells_are_held_and_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {dataset: new_code_cell(source) for dataset, source in STEERED.items()}
    with notebook(monkeypatch, *cells.values()) as client, ThreadPoolExecutor(1) as pool:
        for number, (dataset, cell) in enumerate(cells.items()):
            steering = pool.submit(hold_and_cancel, dataset)
            with pytest.raises(CellExecutionError, match="Cancelled"):
                client.execute_cell(cell, number)
            steering.result(120)
            assert ended(dataset).cancelled
