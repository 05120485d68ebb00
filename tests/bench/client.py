"""`make bench-client`: measure what a tracked loop costs per item, beside tqdm and a bare loop.

All three iterate over the same range and do nothing else. The tracked loop reports to a real server; tqdm draws its bar
to a file. The ratio compares what each adds to the bare loop.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from tests.bench.site import site
from tests.repository import ROOT

sys.path.insert(0, str(ROOT / "client/src"))
ITEMS = int(os.environ.get("ITEMS", "10000000"))
REPEATS = int(os.environ.get("REPEATS", "3"))


def _seconds(wrap: Callable[[range], Iterable[int]]) -> float:
    began = time.perf_counter()
    for _ in wrap(range(ITEMS)):
        pass
    return time.perf_counter() - began


def main() -> None:
    from dataset_progress import Run

    with site() as server, Path(os.devnull).open("w") as nowhere:
        bare, ours, peer = [], [], []
        for number in range(REPEATS):
            bare.append(_seconds(lambda items: items))
            peer.append(_seconds(lambda items: tqdm(items, file=nowhere)))
            with Run(f"bench-{number}", url=server.url, token=server.token) as run:
                ours.append(_seconds(lambda items: run.track(items)))
    _report(statistics.median(bare), statistics.median(ours), statistics.median(peer))


def _report(bare: float, ours: float, peer: float) -> None:
    table = Table(title=f"{ITEMS:,} items, medians of {REPEATS}")
    table.add_column("")
    table.add_column("ns an item", justify="right")
    for name, seconds in (("bare loop", bare), ("track", ours), ("tqdm", peer)):
        table.add_row(name, f"{seconds / ITEMS * 1e9:.0f}")
    Console().print(table)
    ratios = {"ratio_vs_tqdm": round((ours - bare) / (peer - bare), 3), "ratio_vs_bare_loop": round(ours / bare, 3)}
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
