"""`make bench-live`: from a change to every watcher, beside the plain Channels recipe and a bare broadcast.

Frames are counted by a receiver in C that is fast enough not to be the limit; processor time is that of the server's
process alone. The age of what is seen is the time from the moment at which a report was written to its arrival.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from typing import Any

import psutil
from django.db import connections
from rich.console import Console
from rich.table import Table

from tests import processes, services
from tests.bench.plot import plot
from tests.bench.processor import metered

ROOT = Path(__file__).resolve().parent.parent.parent
REPEATS = int(os.environ.get("REPEATS", "3"))
SECONDS = float(os.environ.get("SECONDS", "5"))
PARTS = os.environ.get("PARTS", "fan-out pages health age breadth polling idle").split()
PLOT = os.environ.get("PLOT")  # where the plot of ages goes
CROWDS = (500, 2000)
RATES = (10, 1000)
AGE_RATES = (10, 30, 100, 300, 1000)
SUBSCRIBE = '{"type":"subscribe","dataset_id":"bench"}'
SOCKET = "/api/datasets/bench/progress/ws"
DAPHNE = (sys.executable, *processes.DAPHNE)
UVICORN = (sys.executable, *processes.UVICORN[:2], "--log-level", "warning", *processes.UVICORN[2:])
PLAIN_DAPHNE = (sys.executable, "-m", "tests.bench.serve", *processes.DAPHNE[2:])
console = Console(width=120)


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: how to start it, what its watchers open and send, and how its reporter reaches it."""

    name: str
    command: tuple[str, ...]  # all that comes before the port
    application: tuple[str, ...]
    path: str
    subscribe: str
    reports_to: str  # "database" or "socket"


OURS = Server("ours", DAPHNE, ("progress_site.asgi:application",), SOCKET, SUBSCRIBE, "database")
OURS_UVICORN = Server("ours, Uvicorn", UVICORN, ("progress_site.asgi:application",), SOCKET, SUBSCRIBE, "database")
PLAIN = Server("plain recipe", PLAIN_DAPHNE, ("tests.bench.plain:application",), "/watch", "-", "socket")
OURS_PAGES = replace(OURS, name="ours, pages", path="/datasets/bench/progress/live/", subscribe="-")
BROADCAST = Server("bare broadcast", (sys.executable, "-m", "tests.bench.broadcast"), (), "/watch", "-", "socket")


@dataclass(frozen=True, slots=True)
class Delivery:
    frames_per_cpu_second: float
    frames_per_second: float
    p50_ms: float
    p99_ms: float
    paused: float  # which part of the time the machine was, which the ages have in them


@dataclass(frozen=True, slots=True)
class Site:
    """A database with one dataset whose run is under way, a Redis, and the receiver."""

    env: dict[str, str]
    receiver: str
    dataset_pk: int


@contextmanager
def _site() -> Iterator[Site]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("A C compiler is needed: apt-get install gcc libc6-dev")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-live-"))
        receiver = f"{folder}/receiver"
        subprocess.run([compiler, "-O2", "-o", receiver, ROOT / "tests/bench/receiver.c"], check=True)
        redis = stack.enter_context(services.redis())
        ours = {
            "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "LOG_LEVEL": "ERROR", "REDIS_URL": redis.url, "SOCKETS_PER_ADDRESS": "0",
        }  # fmt: skip
        Path(folder, "static").mkdir()
        os.environ.pop("DATABASE_URL", None)
        os.environ |= ours
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        from apps.datasets.models import Dataset
        from apps.progress import services as progress

        dataset = Dataset.objects.create(dataset_id="bench", visibility="public")
        run = progress.begin_run(dataset, [progress.StagePlan("index", total=10_000_000)])
        progress.start_stage(run.pk, "index")
        yield Site({**os.environ}, receiver, dataset.pk)


@contextmanager
def _serving(site: Site, server: Server) -> Iterator[tuple[psutil.Process, int]]:
    port = services.free_port()
    command = [*server.command, str(port), *server.application]
    with (
        tempfile.NamedTemporaryFile() as log,
        services.running(
            command, ready=lambda: services.answers(port), log=Path(log.name), env=site.env, cwd=ROOT
        ) as process,
    ):
        yield psutil.Process(process.pid), port


@contextmanager
def _crowd(site: Site, server: Server, port: int, count: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """So many watchers, all of which have been given their first frame."""
    command = [site.receiver, str(port), server.path, str(count), str(seconds), server.subscribe]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        if receiver.stdout.readline() != "ready\n":
            sys.exit(f"{server.name}: the watchers could not connect")
        yield receiver
        receiver.kill()


@contextmanager
def _reporter(site: Site, server: Server, port: int, rate: int) -> Iterator[None]:
    target = str(site.dataset_pk) if server.reports_to == "database" else f"ws://127.0.0.1:{port}/report"
    command = [sys.executable, "-m", "tests.bench.reporter", server.reports_to, target, str(rate)]
    with subprocess.Popen(command, env=site.env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reporter:
        assert reporter.stdout is not None
        reporter.stdout.readline()
        yield
        reporter.kill()


@contextmanager
def _under_load(
    site: Site, server: Server, count: int, rate: int
) -> Iterator[tuple[psutil.Process, int, subprocess.Popen[str]]]:
    """The server, its port and the ``count`` watchers of one dataset, while reports come at ``rate`` a second.

    The server is started for it: one that has fallen behind would have to catch up first.
    """
    with (
        _serving(site, server) as (process, port),
        _warm(server, port),
        _crowd(site, server, port, count, SECONDS) as receiver,
        _reporter(site, server, port, rate),
    ):
        time.sleep(2)  # until it runs evenly
        yield process, port, receiver


def _deliver(site: Site, server: Server, count: int, rate: int) -> Delivery:
    """What the watchers are given, for as long as a measurement lasts."""
    with _under_load(site, server, count, rate) as (process, _, receiver):
        assert receiver.stdin is not None
        assert receiver.stdout is not None
        with metered(process.pid) as spent:
            receiver.stdin.write("go\n")
            receiver.stdin.flush()
            result = json.loads(receiver.stdout.readline())
    return Delivery(
        result["frames"] / spent.seconds, result["frames"] / SECONDS, result["p50_ms"], result["p99_ms"], spent.paused
    )


@contextmanager
def _warm(server: Server, port: int) -> Iterator[None]:
    """Have the pages loaded, which the first request does, before anything is measured."""
    if server.reports_to == "database":
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/health/")
        connection.getresponse().read()
        connection.close()
    yield


def _health(site: Site) -> dict[str, float]:
    """How long the health of a server takes that serves 2,000 watchers. Apart: its answers cost processor time too."""
    times = []
    with _under_load(site, OURS, CROWDS[-1], RATES[-1]) as (_, port, _receiver):
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


def _fan_out(site: Site) -> dict[str, float]:
    servers = (OURS, PLAIN, OURS_UVICORN, BROADCAST)
    runs: dict[tuple[str, int, int], list[Delivery]] = {}
    for _ in range(REPEATS):
        for count, rate, server in product(CROWDS, RATES, servers):  # peers after each other: hours differ
            delivery = _deliver(site, server, count, rate)
            runs.setdefault((server.name, count, rate), []).append(delivery)
            print(server.name, count, rate, delivery, file=sys.stderr)  # it takes minutes: something to see meanwhile
    table = Table(title=f"Fan-out: one dataset, medians of {REPEATS}, {SECONDS:g} s each")
    for name in ("server", "watchers", "reports/s", "frames/CPU-s", "frames/s", "age p50", "age p99", "paused"):
        table.add_column(name, justify="left" if name == "server" else "right")
    for (name, count, rate), of_it in runs.items():
        table.add_row(
            name, f"{count:,}", f"{rate:,}", f"{_median(of_it, 'frames_per_cpu_second'):,.0f}",
            f"{_median(of_it, 'frames_per_second'):,.0f}", f"{_median(of_it, 'p50_ms'):,.0f} ms",
            f"{_median(of_it, 'p99_ms'):,.0f} ms", f"{_median(of_it, 'paused'):.0%}",
        )  # fmt: skip
    console.print(table)

    def least(ours: Server, peer: Server, counts: tuple[int, ...]) -> float:
        """The median ratio of runs that followed each other, where it is worst."""
        ratios = []
        for count, rate in product(counts, RATES):
            pairs = zip(runs[ours.name, count, rate], runs[peer.name, count, rate], strict=True)
            ratios.append(statistics.median(a.frames_per_cpu_second / b.frames_per_cpu_second for a, b in pairs))
        return round(min(ratios), 2)

    return {
        "fanout_vs_plain_500": least(OURS, PLAIN, (500,)),
        "fanout_vs_plain_2000": least(OURS, PLAIN, (2000,)),
        "p99_age_ms_2000": _median(runs[OURS.name, 2000, 1000], "p99_ms"),
        "uvicorn_vs_broadcast": least(OURS_UVICORN, BROADCAST, CROWDS),
    }


def _pages(site: Site) -> dict[str, float]:
    """Open pages in place of readers of JSON: a panel of HTML is several times as long, and is encoded once as well."""
    runs: dict[int, list[tuple[float, float]]] = {}
    for _ in range(REPEATS):
        for count in CROWDS:
            pair = [_deliver(site, server, count, RATES[-1]).frames_per_cpu_second for server in (OURS_PAGES, OURS)]
            runs.setdefault(count, []).append((pair[0], pair[1]))
    table = Table(title=f"Pages: one dataset, {RATES[-1]:,} reports/s, medians of {REPEATS}")
    for name in ("watchers", "frames/CPU-s of HTML", "of JSON"):
        table.add_column(name, justify="right")
    for count, pairs in runs.items():
        table.add_row(f"{count:,}", *(f"{statistics.median(values):,.0f}" for values in zip(*pairs, strict=True)))
    console.print(table)
    ratios = [statistics.median(pages / json for pages, json in pairs) for pairs in runs.values()]
    return {"pages_vs_json": round(min(ratios), 2)}


def _median(runs: Iterable[Delivery], what: str) -> float:
    return float(statistics.median(getattr(run, what) for run in runs))


def _age(site: Site) -> dict[str, float]:
    """How old what 500 watchers see is, over the rate of the reports."""
    lines: dict[str, list[tuple[float, float]]] = {OURS.name: [], PLAIN.name: []}
    table = Table(title=f"Age of what {CROWDS[0]} watchers see, p99, medians of {REPEATS}")
    for name in ("reports/s", *lines):
        table.add_column(name, justify="right")
    for rate in AGE_RATES:
        for server in (OURS, PLAIN):
            runs = [_deliver(site, server, CROWDS[0], rate) for _ in range(REPEATS)]
            lines[server.name].append((rate, max(_median(runs, "p99_ms"), 1.0)))
            print(server.name, rate, runs, file=sys.stderr)
        table.add_row(f"{rate:,}", *(f"{points[-1][1]:,.0f} ms" for points in lines.values()))
    console.print(table)
    if PLOT:
        title = f"Age of what {CROWDS[0]} watchers of a dataset see, over how often it is reported on"
        Path(PLOT).write_text(plot(lines, title=title, across="reports a second", up="age, 99th percentile, ms"))
    return {"p99_age_ms_500": lines[OURS.name][-1][1], "p99_age_ms_500_plain": lines[PLAIN.name][-1][1]}


def _breadth(_: Site) -> dict[str, float]:
    """One watcher for each of some datasets, all of which change all the time: what the hub asks of the database."""
    from django.db.backends.signals import connection_created

    queries = 0

    def counted(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal queries
        queries += threading.current_thread().name.startswith("hub_")
        return execute(sql, params, many, context)

    def watch_connection(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(counted)

    connection_created.connect(watch_connection)
    table = Table(title="Breadth: one watcher a dataset, all datasets changing")
    for name in ("datasets", "queries/s", "frames/s"):
        table.add_column(name, justify="right")
    rates = {}
    for count in (10, 2000):
        pks = _datasets(count)
        before = queries
        with ThreadPoolExecutor(1) as thread:
            frames = thread.submit(asyncio.run, _watch_all(pks)).result()
        rates[count] = (queries - before) / SECONDS
        table.add_row(f"{count:,}", f"{rates[count]:.1f}", f"{frames / SECONDS:,.0f}")
    connection_created.disconnect(watch_connection)
    console.print(table)
    return {"queries_per_s_10": round(rates[10], 1), "queries_per_s_2000": round(rates[2000], 1)}


def _datasets(count: int) -> list[int]:
    """Datasets with a run under way."""
    from django.utils import timezone

    from apps.datasets.models import Dataset
    from apps.progress.models import Head, Run, Stage

    now = timezone.now()
    datasets = Dataset.objects.bulk_create(
        Dataset(dataset_id=f"broad-{count}-{number}", visibility="public") for number in range(count)
    )
    runs = Run.objects.bulk_create(
        Run(dataset=dataset, number=1, state="indexing", created_at=now, started_at=now, updated_at=now)
        for dataset in datasets
    )
    Stage.objects.bulk_create(
        Stage(run=run, position=0, name="index", state="active", total=100, started_at=now) for run in runs
    )
    Head.objects.bulk_create(
        Head(dataset=dataset, version=1, run=run) for dataset, run in zip(datasets, runs, strict=True)
    )
    return [dataset.pk for dataset in datasets]


async def _watch_all(pks: list[int]) -> int:
    """Watch each of the datasets, and change all of them ten times a second; how many frames came."""
    from apps.live.hub import current_hub, notify_hubs
    from apps.live.rendering import Form
    from apps.live.watcher import Watcher
    from apps.progress.models import Head
    from apps.progress.signals import Change

    frames = 0

    async def send(message: dict[str, Any]) -> None:
        nonlocal frames
        frames += 1

    def on_drop(dataset_pk: int) -> None:
        raise AssertionError(f"dataset {dataset_pk} was dropped")

    hub = current_hub()
    watchers = {pk: Watcher(Form.JSON, send, on_drop) for pk in pks}
    for pk, watcher in watchers.items():
        hub.watch(pk, watcher)
    loop = asyncio.get_running_loop()
    end = loop.time() + SECONDS
    heads = Head.objects.filter(dataset__in=pks)

    def change(version: int) -> None:
        heads.update(version=version)
        for pk in pks:
            notify_hubs(Change(pk, version))

    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        version = 1
        while loop.time() < end:
            version += 1
            await loop.run_in_executor(writer, change, version)
            await asyncio.sleep(0.1)
        await loop.run_in_executor(writer, connections.close_all)
    for pk, watcher in watchers.items():
        hub.unwatch(pk, watcher)
    return frames


def _requests_per_cpu_second(process: psutil.Process, port: int, path: str, headers: dict[str, str]) -> float:
    """Requests of four clients that keep their connections, over the server's processor time."""
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


def _polling(site: Site) -> dict[str, float]:
    from apps.progress.models import Head

    version = Head.objects.get(dataset=site.dataset_pk).version
    api = "/api/datasets/bench/progress"
    with _serving(site, OURS) as (process, port):
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", api)
        etag = connection.getresponse().getheader("ETag") or ""
        asked = {
            "empty view": ("/empty/", {}),
            "header partial, 204": (f"/datasets/bench/progress/header/?v={version}", {"HX-Request": "true"}),
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


def _idle(site: Site) -> dict[str, float]:
    with _serving(site, OURS) as (process, port):
        with _crowd(site, OURS, port, 100, 1):
            pass  # what is loaded with the first watchers is no watcher's
        before = process.memory_info().rss
        with _crowd(site, OURS, port, 2000, 1):
            each = (process.memory_info().rss - before) / 2000 / 1024
        time.sleep(3)
        settled = process.memory_info().rss
        for _ in range(10):
            with _crowd(site, OURS, port, 1000, 1):
                pass
        time.sleep(3)
        growth = process.memory_info().rss / settled - 1
    table = Table(title="Idle")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("memory of a watcher", f"{each:.1f} KB")
    table.add_row("RSS after 10,000 connects and disconnects more", f"{growth:+.1%}")
    console.print(table)
    return {"idle_kb_per_watcher": round(each, 1), "rss_growth_after_10000": round(growth, 3)}


def main() -> None:
    # Watchers are files: both the server and the receiver hold one each.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with _site() as site:
        parts = {
            "fan-out": _fan_out, "pages": _pages, "health": _health, "age": _age,
            "breadth": _breadth, "polling": _polling, "idle": _idle,
        }  # fmt: skip
        results = {key: value for name in PARTS for key, value in parts[name](site).items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
