"""`make bench-client`: measure what a tracked loop costs per item and per loop, beside tqdm and a bare loop.

All iterate over the same range and do nothing else. What is tracked reports to a real server; bars are drawn to a file.
The ratios compare what each adds to the bare loop, in time of the processor, with that of the thread that reports: what
other programs take does not count. Short loops are measured with the server up and down, and in memory.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from tests.bench import pipe
from tests.bench.site import site
from tests.repository import ROOT
from tests.services import free_port

sys.path.insert(0, str(ROOT / "client/src"))
ITEMS = int(os.environ.get("ITEMS", "10000000"))
REPEATS = int(os.environ.get("REPEATS", "3"))
# Short loops, and those of which each has a description of its own.
LOOPS = 1000
DESCRIPTIONS = 20_000


def _seconds(wrap: Callable[[range], Iterable[int]]) -> float:
    began = time.process_time()
    for _ in wrap(range(ITEMS)):
        pass
    return time.process_time() - began


def main() -> None:
    from dataset_progress import Run
    from dataset_progress.tqdm import capture_tqdm
    from dataset_progress.tqdm import tqdm as bar

    seconds: dict[str, list[float]] = {name: [] for name in ("bare loop", "track", "tqdm", "bar", "captured")}
    with site() as server, Path(os.devnull).open("w") as nowhere:
        there: dict[str, Any] = {"url": server.url, "token": server.token}
        for number in range(REPEATS):
            seconds["bare loop"].append(_seconds(lambda items: items))
            seconds["tqdm"].append(_seconds(lambda items: tqdm(items, file=nowhere)))
            with Run(f"track-{number}", **there) as run:
                seconds["track"].append(_seconds(lambda items: run.track(items)))
            seconds["bar"].append(_seconds(lambda items: bar(items, file=nowhere, dataset="bar", **there)))
            with capture_tqdm(f"captured-{number}", **there):
                seconds["captured"].append(_seconds(lambda items: tqdm(items, file=nowhere)))
        plain = _loop_us(lambda items, number: tqdm(items, file=nowhere))
        pipes = pipe.measure(server.url, server.token, REPEATS)
        up = _loop_us(lambda items, number: bar(items, file=nowhere, dataset="up", **there))
    there["url"] = f"http://127.0.0.1:{free_port()}"
    with Path(os.devnull).open("w") as nowhere:

        def described(items: range, number: int) -> Iterable[int]:
            return bar(items, file=nowhere, dataset="down", desc=f"file{number}", **there)

        down = _loop_us(lambda items, number: bar(items, file=nowhere, dataset="down", **there))
        before = _megabytes()
        _loop_us(described, DESCRIPTIONS)
        growth = _megabytes() - before
    ratios = _report({name: statistics.median(each) for name, each in seconds.items()})
    loops = {"loop_overhead_us_up": round(up - plain), "loop_overhead_us_down": round(down - plain)}
    print(json.dumps({**ratios, **loops, **pipes, "growth_mb": round(growth, 2)}))


def _loop_us(wrap: Callable[[range, int], Iterable[int]], loops: int = LOOPS) -> float:
    """Return the microseconds that one loop over three items takes."""
    began = time.perf_counter()
    for number in range(loops):
        for _ in wrap(range(3), number):
            pass
    return (time.perf_counter() - began) / loops * 1e6


def _megabytes() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


def _report(seconds: dict[str, float]) -> dict[str, float]:
    """Print what an item costs. Return the ratios."""
    table = Table(title=f"{ITEMS:,} items, medians of {REPEATS}")
    table.add_column("")
    table.add_column("ns an item", justify="right")
    for name, each in seconds.items():
        table.add_row(name, f"{each / ITEMS * 1e9:.0f}")
    Console().print(table)
    bare = seconds["bare loop"]
    added = {name: (each - bare) / (seconds["tqdm"] - bare) for name, each in seconds.items()}
    ratios = {
        "ratio_vs_tqdm": added["track"], "ratio_vs_bare_loop": seconds["track"] / bare,
        "bar_vs_tqdm": added["bar"], "captured_vs_tqdm": added["captured"],
    }  # fmt: skip
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


if __name__ == "__main__":
    main()
