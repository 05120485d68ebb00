"""`make bench-ingest`: what a report costs the server, beside an empty Django view that takes a POST.

All of it is over the server's processor time, on SQLite and on PostgreSQL. A single report is answered with the whole
state of its dataset; a batch is a thousand updates of as many datasets in one request.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests import services

ROOT = Path(__file__).resolve().parent.parent.parent
REPEATS = int(os.environ.get("REPEATS", "3"))
SECONDS = float(os.environ.get("SECONDS", "5"))
BATCH = 1000
CLIENTS = 4

Post = Callable[[HTTPConnection, int], int]


@contextmanager
def _site(database_url: str) -> Iterator[tuple[psutil.Process, int, dict[str, str]]]:
    """A server on a database of its own: its process, its port, and the headers of a token."""
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder, tempfile.NamedTemporaryFile() as log:
        Path(folder, "static").mkdir()
        env = {
            **os.environ, "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "LOG_LEVEL": "ERROR", "DATABASE_URL": database_url or f"sqlite:///{folder}/progress.sqlite3",
            "TOKEN_REQUESTS_A_SECOND": "0", "REDIS_URL": "",
        }  # fmt: skip
        manage = [sys.executable, "manage.py"]
        services.run_quietly([*manage, "migrate"], env=env, cwd=ROOT)
        secret = services.run_quietly([*manage, "create_token", "bench"], env=env, cwd=ROOT).strip()
        port = services.free_port()
        command = [
            sys.executable, "-m", "progress_site.serve", "-b", "127.0.0.1", "-p", str(port),
            "progress_site.asgi:application",
        ]  # fmt: skip
        with services.running(
            command, ready=lambda: services.answers(port), log=Path(log.name), env=env, cwd=ROOT
        ) as process:
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
            yield psutil.Process(process.pid), port, headers


def _per_cpu_second(process: psutil.Process, port: int, post: Post, warm: float = 1.0) -> float:
    """What ``post`` gets done by clients side by side, over the server's processor time."""
    done = [0] * CLIENTS
    over = threading.Event()

    def ask(client: int) -> None:
        connection = HTTPConnection("127.0.0.1", port)
        while not over.is_set():
            done[client] += post(connection, client)

    clients = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(warm)
    times = process.cpu_times()
    before, cpu = sum(done), times.user + times.system
    time.sleep(SECONDS)
    times = process.cpu_times()
    answered, cpu = sum(done) - before, times.user + times.system - cpu
    over.set()
    for client in clients:
        client.join()
    return answered / cpu


def _posts(headers: dict[str, str]) -> dict[str, Post]:
    """The three that are measured. Each returns how many updates, or requests, it was."""
    counts = iter(range(1, 10**9))

    def send(connection: HTTPConnection, path: str, body: Any) -> None:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            sys.exit(f"{path}: {response.status} {answer[:300]!r}")

    def said(count: int) -> dict[str, Any]:
        return {"state": "indexing", "current": count, "total": 10**9, "message": f"Indexing samples... {count}"}

    def empty(connection: HTTPConnection, client: int) -> int:
        send(connection, "/empty/", said(next(counts)))
        return 1

    def single(connection: HTTPConnection, client: int) -> int:
        send(connection, f"/api/datasets/single-{client}/progress", said(next(counts)))
        return 1

    def batch(connection: HTTPConnection, client: int) -> int:
        count = next(counts)
        updates = [{"dataset_id": f"batch-{client}-{number}", **said(count)} for number in range(BATCH)]
        send(connection, "/api/progress", {"updates": updates})
        return BATCH

    return {"empty view": empty, "single reports": single, "batches, by updates": batch}


def _measure(database_url: str) -> dict[str, float]:
    with _site(database_url) as (process, port, headers):
        posts = _posts(headers)
        # The datasets of the batches are made before anything is measured.
        connection = HTTPConnection("127.0.0.1", port)
        for client in range(CLIENTS):
            posts["batches, by updates"](connection, client)
        runs: dict[str, list[float]] = {name: [] for name in posts}
        for _ in range(REPEATS):
            for name, post in posts.items():
                runs[name].append(_per_cpu_second(process, port, post))
    return {name: statistics.median(values) for name, values in runs.items()}


def main() -> None:
    with ExitStack() as stack:
        sqlite = _measure("")
        postgres = _measure(_postgresql(stack))
    table = Table(
        title=f"What a processor second of the server is enough for, medians of {REPEATS}, {SECONDS:g} s each"
    )
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
                "batch_per_cpu_s_sqlite": round(sqlite["batches, by updates"]),
                "batch_per_cpu_s_postgres": round(postgres["batches, by updates"]),
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
