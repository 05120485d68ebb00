"""Polling: requests for a state that has not changed, beside an empty view."""

from __future__ import annotations

import statistics
import threading
import time
from http.client import HTTPConnection

import psutil
from rich.table import Table

from tests.bench.live.options import REPEATS, SECONDS, console
from tests.bench.live.servers import OURS, Site, serving
from tests.bench.processor import metered


def polling(site: Site) -> dict[str, float]:
    from apps.progress.models import Head

    head = Head.objects.get(dataset=site.dataset_pk)
    shown = f"v={head.version}&epoch={head.epoch}"
    api = "/api/datasets/bench/progress"
    with serving(site, OURS) as (process, port):
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", api)
        etag = connection.getresponse().getheader("ETag") or ""
        asked = {
            "empty view": ("/empty/", {}),
            "header partial, 204": (f"/datasets/bench/progress/header/?{shown}", {"HX-Request": "true"}),
            "JSON, 304": (api, {"If-None-Match": etag}),
        }
        runs: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(REPEATS):
            for name, (path, headers) in asked.items():
                runs[name].append(_requests_per_cpu_second(process, port, path, headers))
    rates = {name: statistics.median(values) for name, values in runs.items()}
    table = Table(title="Polling: an unchanged state")
    table.add_column("")
    table.add_column("requests/CPU-s", justify="right")
    table.add_column("of the empty view", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / rates['empty view']:.2f}")
    console.print(table)
    return {
        "header_poll_ratio": round(rates["header partial, 204"] / rates["empty view"], 2),
        "json_304_ratio": round(rates["JSON, 304"] / rates["empty view"], 2),
    }


def _requests_per_cpu_second(process: psutil.Process, port: int, path: str, headers: dict[str, str]) -> float:
    """Measure requests per processor second of the server, from four clients that keep their connections."""
    done = [0] * 4
    over = threading.Event()

    def ask(client: int) -> None:
        connection = HTTPConnection("127.0.0.1", port)
        while not over.is_set():
            connection.request("GET", path, headers=headers)
            connection.getresponse().read()
            done[client] += 1

    clients = [threading.Thread(target=ask, args=(client,)) for client in range(len(done))]
    for client in clients:
        client.start()
    time.sleep(1)
    with metered(process.pid) as spent:
        before = sum(done)
        time.sleep(SECONDS)
        answered = sum(done) - before
    over.set()
    for client in clients:
        client.join()
    return answered / spent.seconds
