"""Short loops cost little more than tqdm's, whatever the server does: they wait for nothing, and share one sender."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import pytest
from dataset_progress import track

from apps.progress.models import WorkerShare

from .conftest import program, script, shown
from .test_harmless import address_of
from .test_refusals import MockServer

# A thousand loops of three items and two hundred descriptions, in tqdm and in the drop-in. Prints what they took.
LOOPS = """
import io, json, threading, time
from tqdm import tqdm as plain
from dataset_progress.tqdm import tqdm
def measure(bar, **options):
    began = time.thread_time(), time.monotonic()
    for number in range(1000):
        for _ in bar(range(3), desc=f"file {number} of x{number % 200}", file=io.StringIO(), **options): pass
    return time.thread_time() - began[0], time.monotonic() - began[1]
(plain_busy, _), (busy, waited) = measure(plain), measure(tqdm, dataset="cats")
senders = [thread for thread in threading.enumerate() if thread.name == "dataset-progress"]
print(json.dumps({"more": busy - plain_busy, "waited": waited, "senders": len(senders)}))
"""


def check(printed: str) -> None:
    measured: dict[str, Any] = json.loads(printed)
    assert measured["more"] < 1000 * 0.001  # seconds, of the processor, so that other processes do not count
    assert measured["waited"] < 20  # a server that hangs would take 2,000
    assert measured["senders"] == 1


@pytest.mark.parametrize("trouble", ["down", "slow", "unauthorized"])
def test_they_wait_for_no_server(trouble: str) -> None:
    with address_of(trouble) as url:
        began = time.monotonic()
        ended = script(LOOPS, DATASET_PROGRESS_URL=url, DATASET_PROGRESS_FLUSH_SECONDS="1")
        assert time.monotonic() - began < 30
    check(ended.stdout)
    assert ended.stderr.count("progress is not reported") == (0 if trouble == "slow" else 1), ended.stderr


def test_all_of_them_count_in_one_run(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_LINGER", "60")
    check(program(LOOPS).stdout)
    assert (shown().run, shown().state, len(shown().stages)) == (1, "ready", 64)
    assert sum(WorkerShare.objects.values_list("current", flat=True)) == 3000


def test_a_process_makes_four_requests_a_second_in_all() -> None:
    server = MockServer()
    began = time.monotonic()
    while time.monotonic() - began < 3:
        for dataset in ("cats", "dogs", "mice"):
            list(track(range(3), dataset=dataset, url="http://progress.invalid", transport=server, linger=0))
    apart = [later - earlier for earlier, later in zip(server.asked, server.asked[4:], strict=False)]
    assert statistics.median(apart) > 0.95
