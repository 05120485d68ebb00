"""Fan-out: one dataset, many watchers, beside the peers; and pages beside readers of JSON."""

from __future__ import annotations

import statistics
import sys
from itertools import product

from rich.table import Table

from tests.bench.live.load import Delivery, deliver, median
from tests.bench.live.options import CROWDS, RATES, REPEATS, SECONDS, console
from tests.bench.live.servers import BROADCAST, OURS, OURS_PAGES, OURS_UVICORN, PLAIN, Server, Site


def fan_out(site: Site) -> dict[str, float]:
    servers = (OURS, PLAIN, OURS_UVICORN, BROADCAST)
    runs: dict[tuple[str, int, int], list[Delivery]] = {}
    for _ in range(REPEATS):
        for count, rate, server in product(CROWDS, RATES, servers):  # peers follow each other, since hours differ
            delivery = deliver(site, server, count, rate)
            runs.setdefault((server.name, count, rate), []).append(delivery)
            print(server.name, count, rate, delivery, file=sys.stderr)  # it takes minutes, so show how far it is
    table = Table(title=f"Fan-out: one dataset, medians of {REPEATS}, {SECONDS:g} s each")
    for name in ("server", "watchers", "reports/s", "frames/CPU-s", "frames/s", "age p50", "age p99", "paused"):
        table.add_column(name, justify="left" if name == "server" else "right")
    for (name, count, rate), deliveries in runs.items():
        table.add_row(
            name, f"{count:,}", f"{rate:,}", f"{median(deliveries, 'frames_per_cpu_second'):,.0f}",
            f"{median(deliveries, 'frames_per_second'):,.0f}", f"{median(deliveries, 'p50_ms'):,.0f} ms",
            f"{median(deliveries, 'p99_ms'):,.0f} ms", f"{median(deliveries, 'paused'):.0%}",
        )  # fmt: skip
    console.print(table)

    def least(ours: Server, peer: Server, counts: tuple[int, ...]) -> float:
        """Return the median ratio of runs that followed each other, where it is worst."""
        ratios = []
        for count, rate in product(counts, RATES):
            pairs = zip(runs[ours.name, count, rate], runs[peer.name, count, rate], strict=True)
            ratios.append(statistics.median(a.frames_per_cpu_second / b.frames_per_cpu_second for a, b in pairs))
        return round(min(ratios), 2)

    return {
        "fanout_vs_plain_500": least(OURS, PLAIN, (500,)),
        "fanout_vs_plain_2000": least(OURS, PLAIN, (2000,)),
        "p99_age_ms_2000": median(runs[OURS.name, 2000, 1000], "p99_ms"),
        "uvicorn_vs_broadcast": least(OURS_UVICORN, BROADCAST, CROWDS),
    }


def pages(site: Site) -> dict[str, float]:
    """Watch with pages: a panel of HTML is several times as long as JSON, and is encoded once as well."""
    runs: dict[int, list[tuple[float, float]]] = {}
    for _ in range(REPEATS):
        for count in CROWDS:
            pair = [deliver(site, server, count, RATES[-1]).frames_per_cpu_second for server in (OURS_PAGES, OURS)]
            runs.setdefault(count, []).append((pair[0], pair[1]))
    table = Table(title=f"Pages: one dataset, {RATES[-1]:,} reports/s, medians of {REPEATS}")
    for name in ("watchers", "frames/CPU-s of HTML", "of JSON"):
        table.add_column(name, justify="right")
    for count, pairs in runs.items():
        table.add_row(f"{count:,}", *(f"{statistics.median(values):,.0f}" for values in zip(*pairs, strict=True)))
    console.print(table)
    ratios = [statistics.median(pages / json for pages, json in pairs) for pairs in runs.values()]
    return {"pages_vs_json": round(min(ratios), 2)}
