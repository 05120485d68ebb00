"""Age: how old what watchers see is, by the rate of the reports; and how long `/health/` takes under load."""

from __future__ import annotations

import statistics
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

from rich.table import Table

from tests.bench.live.load import deliver, median, under_load
from tests.bench.live.options import CROWDS, PLOT, RATES, REPEATS, SECONDS, console
from tests.bench.live.servers import OURS, PLAIN, Site
from tests.bench.plot import plot

AGE_RATES = (10, 30, 100, 300, 1000)  # reports per second


def age(site: Site) -> dict[str, float]:
    lines: dict[str, list[tuple[float, float]]] = {OURS.name: [], PLAIN.name: []}
    table = Table(title=f"Age of what {CROWDS[0]} watchers see, p99, medians of {REPEATS}")
    for name in ("reports/s", *lines):
        table.add_column(name, justify="right")
    for rate in AGE_RATES:
        for server in (OURS, PLAIN):
            runs = [deliver(site, server, CROWDS[0], rate) for _ in range(REPEATS)]
            lines[server.name].append((rate, max(median(runs, "p99_ms"), 1.0)))
            print(server.name, rate, runs, file=sys.stderr)
        table.add_row(f"{rate:,}", *(f"{points[-1][1]:,.0f} ms" for points in lines.values()))
    console.print(table)
    if PLOT:
        title = f"Age of what {CROWDS[0]} watchers of a dataset see, over how often it is reported on"
        Path(PLOT).write_text(plot(lines, title=title, across="reports a second", up="age, 99th percentile, ms"))
    return {"p99_age_ms_500": lines[OURS.name][-1][1], "p99_age_ms_500_plain": lines[PLAIN.name][-1][1]}


def health(site: Site) -> dict[str, float]:
    """Time `/health/` beside 2,000 watchers. Not within the fan-out: its answers take processor time as well."""
    times = []
    with under_load(site, OURS, CROWDS[-1], RATES[-1]) as (_, port, _receiver):
        connection = HTTPConnection("127.0.0.1", port)
        for _ in range(round(SECONDS * 5)):
            asked = time.perf_counter()
            connection.request("GET", "/health/")
            connection.getresponse().read()
            times.append((time.perf_counter() - asked) * 1000)
            time.sleep(0.2)
    table = Table(title=f"Health of a server with {CROWDS[-1]:,} watchers, {RATES[-1]:,} reports/s")
    for name in ("median", "longest"):
        table.add_column(name, justify="right")
    table.add_row(f"{statistics.median(times):,.0f} ms", f"{max(times):,.0f} ms")
    console.print(table)
    return {"health_ms_2000": round(statistics.median(times), 1), "longest_health_ms_2000": round(max(times), 1)}
