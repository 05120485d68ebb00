"""The demo's other datasets: runs that the client reports to the server over the API, as any job does.

`python -m progress_site.demo.reporters` reports until it is stopped, to ``DATASET_PROGRESS_URL`` with
``DATASET_PROGRESS_TOKEN``. The keys of its runs stay the same, so the next demo goes on with them.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from typing import Any, Final

import httpx
from dataset_progress import Run, Stage, simulate

STAGES: Final = (
    Stage("download", total=160, weight=12, label="Downloading shards", unit="shards"),
    Stage("extract", total=1_600, weight=20, label="Extracting text", unit="pages"),
    Stage("dedup", total=8_000, weight=50, label="Removing near-duplicates", unit="documents"),
    Stage("filter", total=6_000, weight=30, label="Filtering by quality", unit="documents"),
    Stage("embedding", total=6_000, weight=45, label="Embedding documents", unit="documents"),
    Stage("write", total=60, weight=8, label="Writing Parquet", unit="files"),
)
WORKERS: Final = ("node-01", "node-02", "node-03", "node-04")
# This worker is killed in the middle of a run, and comes back later.
UNLUCKY: Final = "node-03"
UNLUCKY_STAGE: Final = "dedup"
SECONDS_AWAY: Final = 45.0
SECONDS_BETWEEN_RUNS: Final = 20.0


def main() -> None:
    """Report until SIGTERM or SIGINT."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))  # which ends the workers, too
    be_quiet()
    for job in (birds, maps, clip, captions, stream):
        threading.Thread(target=run_quietly, args=(job,), daemon=True).start()
    for _ in count():
        crawl()
        time.sleep(SECONDS_BETWEEN_RUNS)


# --- A run of six stages, with four workers ---------------------------------------------------------------------------


def crawl() -> None:
    """Run the workers of one run to its end. The one that is killed is started again after a while."""
    processes = get_context("spawn")
    key = f"demo-crawl-{time.time():.0f}"
    workers = {name: processes.Process(target=work, args=(name, key), daemon=True) for name in WORKERS}
    for worker in workers.values():
        worker.start()
    workers[UNLUCKY].join()
    if workers[UNLUCKY].exitcode == -signal.SIGKILL:
        time.sleep(SECONDS_AWAY)
        workers[UNLUCKY] = processes.Process(target=work, args=(UNLUCKY, key, UNLUCKY_STAGE), daemon=True)
        workers[UNLUCKY].start()
    for worker in workers.values():
        worker.join()


def work(name: str, key: str, first_stage: str = "") -> None:
    """Do a worker's share of each stage, from ``first_stage`` on. Without one, the unlucky worker is killed."""
    # A terminal's Ctrl-C is for `make demo`, which stops its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    be_quiet()
    speed = random.uniform(0.9, 1.1)  # noqa: S311 -- nothing is secret in a demo
    stages = [stage.name for stage in STAGES]
    start = stages.index(first_stage) if first_stage else 0
    with suppress_end(), Run("demo-crawl", stages=STAGES, key=key, worker=name, shares_end=True) as run:
        for stage in STAGES[start:]:
            share = (stage.total or 0) // len(WORKERS)
            for item in run.track(range(share), stage=stage.name, total=share):
                time.sleep(stage.weight / share * speed)
                if stage.name == UNLUCKY_STAGE and item % 900 == 450:
                    run.fail_item(f"{name}/{item:06}.html", "no text after the boilerplate was removed")
                if name == UNLUCKY and not first_stage and stage.name == UNLUCKY_STAGE and item > 0.4 * share:
                    os.kill(os.getpid(), signal.SIGKILL)


# --- The others -------------------------------------------------------------------------------------------------------


def stream() -> None:
    """A run that does not know how much there will be."""
    with Run("demo-stream", key="demo", stages=[Stage("ingest", label="Ingesting", unit="events")]) as run:
        for _ in run.track(events(), stage="ingest"):
            pass


def events() -> Iterator[float]:
    while True:
        time.sleep(random.expovariate(40))
        yield time.time()


def captions() -> None:
    """A run that is paused half-way. It stays so over the next start, and goes on where it was."""
    stages = [Stage("indexing", total=900, unit="images")]
    while (before := progress("demo-captions"))["paused"]:
        time.sleep(1)
    with Run("demo-captions", key="demo", worker="laptop", stages=stages) as run:
        for done in range(before["current"], 900):
            time.sleep(0.02)
            run.set(done + 1)
            if done == 420:
                while progress("demo-captions")["run"] is None:  # on a busy machine the first report takes a while
                    time.sleep(0.2)
                request("demo-captions", "pause")


def clip() -> None:
    """A run that fails, with a traceback."""
    with Run("demo-clip", key="demo", stages=[Stage("embedding", total=2_000, unit="images")]) as run:
        for item in run.track(range(2_000), stage="embedding"):
            time.sleep(0.01)
            if item == 1_300:
                encode([item] * 256)


def encode(batch: list[int]) -> None:
    raise MemoryError(f"CUDA out of memory: a batch of {len(batch)} images needs 2.0 GiB, and 1.3 GiB are free")


def birds() -> None:
    simulate("demo-birds", items=600, seconds=15, failures=4, key="demo", worker="laptop")


def maps() -> None:
    simulate("demo-maps", items=250, seconds=8, failures=0, key="demo", worker="laptop")


def be_quiet() -> None:
    """Log no faults of reports: the server is stopped at the same moment as the jobs."""
    logging.getLogger("dataset_progress").setLevel(logging.CRITICAL)


def run_quietly(job: Callable[[], None]) -> None:
    with suppress_end():
        job()


def suppress_end() -> suppress:
    """A job ends with its error, because somebody cancelled its run, or with the server. Pages show the first two."""
    return suppress(Exception)


def progress(dataset_id: str) -> dict[str, Any]:
    """Return the state of a dataset."""
    answer = httpx.get(f"{os.environ['DATASET_PROGRESS_URL']}/api/datasets/{dataset_id}/progress", timeout=10)
    state: dict[str, Any] = answer.raise_for_status().json()
    return state


def request(dataset_id: str, action: str) -> None:
    """Ask something of a run, as its owner does on the page."""
    httpx.post(
        f"{os.environ['DATASET_PROGRESS_URL']}/api/datasets/{dataset_id}/control",
        json={"action": action},
        headers={"Authorization": f"Bearer {os.environ['DATASET_PROGRESS_TOKEN']}"},
        timeout=10,
    )


if __name__ == "__main__":
    main()
