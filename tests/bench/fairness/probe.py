"""What people and pipelines ask of the server, one after the other, and how long each takes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from itertools import count

from tests.bench.fairness.site import Site

PROBES = ("page", "poll", "report")
# Between two requests, so that the measurement is no load of its own.
PAUSE_SECONDS = 0.03
# What an answer that never comes counts as.
TIMEOUT_SECONDS = 30.0

_counts = count(1)


def measure(site: Site, seconds: float) -> dict[str, float]:
    """Return the 99th percentile of each probe, in milliseconds. An answer that is no success counts as a timeout."""
    took: dict[str, list[float]] = {probe: [] for probe in PROBES}
    asks = _asks(site)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for probe in PROBES:
            began = time.perf_counter()
            is_answered = asks[probe]()
            took[probe].append(time.perf_counter() - began if is_answered else TIMEOUT_SECONDS)
            time.sleep(PAUSE_SECONDS)
    return {probe: 1000 * sorted(times)[int(0.99 * (len(times) - 1) + 0.5)] for probe, times in took.items()}


def _asks(site: Site) -> dict[str, Callable[[], bool]]:
    headers = {"Authorization": f"Bearer {site.token}", "Content-Type": "application/json"}

    def ask(method: str, path: str, bodies: Iterator[str | None], headers: dict[str, str]) -> Callable[[], bool]:
        connection = HTTPConnection("127.0.0.1", site.port, timeout=TIMEOUT_SECONDS)

        def asked() -> bool:
            try:
                connection.request(method, path, next(bodies), headers)
                response = connection.getresponse()
                response.read()
            except (OSError, HTTPException) as error:
                print(f"{path}: {error!r}", file=sys.stderr)
                connection.close()
                return False
            return response.status in (200, 204)

        return asked

    nothing = iter(lambda: None, 0)
    reports = (json.dumps({"stage": "index", "current": number}) for number in _counts)
    return {
        "page": ask("GET", "/datasets/watched/", nothing, {}),
        "poll": ask("GET", "/datasets/watched/progress/bar/?v=0", nothing, {}),
        "report": ask("POST", "/api/datasets/watched/progress", reports, headers),
    }
