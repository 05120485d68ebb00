"""`make bench-ingest`: measure what a report costs the server, beside an empty Django view that takes a POST.

Rates are per second of the server's processor time, on SQLite and on PostgreSQL. A single report is answered with the
state of its dataset. A batch is one request with updates of a thousand datasets.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests import services
from tests.bench.processor import metered
from tests.bench.site import Site, site

REPEATS = int(os.environ.get("REPEATS", "3"))
REQUESTS = int(os.environ.get("REQUESTS", "500"))
BATCH = 1000
BATCHES = "batches, by updates"


def _per_cpu_second(process: psutil.Process, post: Callable[[], int], times: int) -> float:
    """Return what ``post`` gets done per second of processor time. One client, so that threads do not wait."""
    with metered(process.pid) as spent:
        done = sum(post() for _ in range(times))
    return done / spent.seconds


def _posts(server: Site) -> dict[str, tuple[Callable[[], int], int]]:
    """Return what is measured, and how often. Each function returns how many requests or updates it sent."""
    connection = HTTPConnection("127.0.0.1", server.port)
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    counts = iter(range(1, 10**9))

    def send(path: str, body: Any) -> None:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            sys.exit(f"{path}: {response.status} {answer[:300]!r}")

    def said() -> dict[str, Any]:
        count = next(counts)
        return {"state": "indexing", "current": count, "total": 10**9, "message": f"Indexing samples... {count}"}

    def empty() -> int:
        send("/empty/", said())
        return 1

    def single() -> int:
        send("/api/datasets/single/progress", said())
        return 1

    def batch() -> int:
        send("/api/progress", {"updates": [{"dataset_id": f"batch-{number}", **said()} for number in range(BATCH)]})
        return BATCH

    return {"empty view": (empty, REQUESTS), "single reports": (single, REQUESTS), BATCHES: (batch, REQUESTS // 50)}


def _measure(database_url: str) -> dict[str, float]:
    with site(database_url) as server:
        posts = _posts(server)
        for post, _ in posts.values():  # the first of each creates what the others update
            post()
        runs: dict[str, list[float]] = {name: [] for name in posts}
        for _ in range(REPEATS):
            for name, (post, times) in posts.items():
                runs[name].append(_per_cpu_second(server.process, post, times))
    return {name: statistics.median(values) for name, values in runs.items()}


def main() -> None:
    with ExitStack() as stack:
        sqlite = _measure("")
        postgres = _measure(_postgresql(stack))
    table = Table(title=f"What a processor second of the server is enough for, medians of {REPEATS}")
    table.add_column("")
    for name in ("SQLite", "PostgreSQL"):
        table.add_column(name, justify="right")
    for name in sqlite:
        table.add_row(name, f"{sqlite[name]:,.0f}", f"{postgres[name]:,.0f}")
    ratios = [rates["single reports"] / rates["empty view"] for rates in (sqlite, postgres)]
    table.add_row("single report of empty view", *(f"{ratio:.2f}" for ratio in ratios))
    Console().print(table)
    print(
        json.dumps(
            {
                "single_ratio": round(min(ratios), 3),
                "batch_per_cpu_s_sqlite": round(sqlite[BATCHES]),
                "batch_per_cpu_s_postgres": round(postgres[BATCHES]),
            }
        )
    )


def _postgresql(stack: ExitStack) -> str:
    try:
        return stack.enter_context(services.postgresql()).url
    except subprocess.CalledProcessError as error:
        sys.exit(f"PostgreSQL could not be started: {error.stderr}")


if __name__ == "__main__":
    main()
