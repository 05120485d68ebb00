"""In a notebook, cells report, can be run again, and can await in the notebook's event loop."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from .conftest import ended, shown, until

SOURCES = Path(__file__).resolve().parent.parent.parent / "client/src"
pytestmark = pytest.mark.usefixtures("address")


def test_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
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
    cells = [track, track, wait, bar, fail, blocks, awaits]
    client = NotebookClient(new_notebook(cells=cells), timeout=120, kernel_name="python3")
    client.create_kernel_manager().shutdown_wait_time = 120  # for its last word
    with client.setup_kernel():
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
