"""Idle: the memory of a watcher, and what many connects and disconnects leave behind."""

from __future__ import annotations

import time

from rich.table import Table

from tests.bench.live.load import crowd
from tests.bench.live.options import console
from tests.bench.live.servers import OURS, Site, serving


def idle(site: Site) -> dict[str, float]:
    with serving(site, OURS) as (process, port):
        with crowd(site, OURS, port, 100, 1):
            pass  # so that what the server loads for its first watchers is not counted
        before = process.memory_info().rss
        with crowd(site, OURS, port, 2000, 1):
            each = (process.memory_info().rss - before) / 2000 / 1024
        time.sleep(3)
        settled = process.memory_info().rss
        for _ in range(10):
            with crowd(site, OURS, port, 1000, 1):
                pass
        time.sleep(3)
        growth = process.memory_info().rss / settled - 1
    table = Table(title="Idle")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("memory of a watcher", f"{each:.1f} KB")
    table.add_row("RSS after 10,000 more connects and disconnects", f"{growth:+.1%}")
    console.print(table)
    return {"idle_kb_per_watcher": round(each, 1), "rss_growth_after_10000": round(growth, 3)}
