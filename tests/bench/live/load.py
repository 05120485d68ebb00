"""A server under load: watchers, a reporter, and what the watchers receive."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

import psutil

from tests.bench.live.options import SECONDS
from tests.bench.live.servers import Server, Site, serving
from tests.bench.processor import metered
from tests.repository import ROOT


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the watchers received in one measurement."""

    frames_per_cpu_second: float
    frames_per_second: float
    p50_ms: float
    p99_ms: float
    paused: float  # the part of the time for which the machine was paused; the ages include it


def deliver(site: Site, server: Server, watchers: int, rate: int) -> Delivery:
    """Measure what ``watchers`` receive at ``rate`` reports per second."""
    with under_load(site, server, watchers, rate) as (process, _, receiver):
        assert receiver.stdin is not None
        assert receiver.stdout is not None
        with metered(process.pid) as spent:
            receiver.stdin.write("go\n")
            receiver.stdin.flush()
            result = json.loads(receiver.stdout.readline())
    return Delivery(
        result["frames"] / spent.seconds, result["frames"] / SECONDS, result["p50_ms"], result["p99_ms"], spent.paused
    )


def median(deliveries: Iterable[Delivery], what: str) -> float:
    return float(statistics.median(getattr(delivery, what) for delivery in deliveries))


@contextmanager
def under_load(
    site: Site, server: Server, watchers: int, rate: int
) -> Iterator[tuple[psutil.Process, int, subprocess.Popen[str]]]:
    """Run a server with this load on one dataset; yield its process, its port and the receiver.

    Each measurement has a server of its own: one that has fallen behind would have to catch up first.
    """
    with (
        serving(site, server) as (process, port),
        _warmed_up(server, port),
        crowd(site, server, port, watchers, SECONDS) as receiver,
        _reporter(site, server, port, rate),
    ):
        time.sleep(2)  # until the load is even
        yield process, port, receiver


@contextmanager
def crowd(site: Site, server: Server, port: int, watchers: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Connect watchers, each of which has received its first frame; yield the receiver."""
    command = [site.receiver, str(port), server.path, str(watchers), str(seconds), server.subscribe]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        if receiver.stdout.readline() != "ready\n":
            sys.exit(f"{server.name}: the watchers could not connect")
        yield receiver
        receiver.kill()


@contextmanager
def _reporter(site: Site, server: Server, port: int, rate: int) -> Iterator[None]:
    target = str(site.dataset_pk) if server.reports_to == "database" else f"ws://127.0.0.1:{port}/report"
    command = [sys.executable, "-m", "tests.bench.live.reporter", server.reports_to, target, str(rate)]
    with subprocess.Popen(command, env=site.env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reporter:
        assert reporter.stdout is not None
        reporter.stdout.readline()
        yield
        reporter.kill()


@contextmanager
def _warmed_up(server: Server, port: int) -> Iterator[None]:
    """Have our server import its pages, as the first request does, before anything is measured."""
    if server.reports_to == "database":
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/health/")
        connection.getresponse().read()
        connection.close()
    yield
