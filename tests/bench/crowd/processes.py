"""What a second web process adds: pages on one process, and twice as many on two, over PostgreSQL and Redis.

The two are behind nginx. Compared is the processor time of the web processes, which can use a core each. Each of them
has as many pages in both cases, so it sends as many frames; the reports are shared. nginx, the databases and the load
would need cores of their own.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from tests import services
from tests.bench.crowd.load import steady
from tests.bench.crowd.servers import Server, ours

SECONDS = float(os.environ.get("SECONDS", "15"))
PAGES = int(os.environ.get("PAGES", "2000").split()[0])


def measured(program: str, processes: int) -> dict[str, Any]:
    """Measure the pages on so many processes, on new databases."""
    with ExitStack() as stack:
        database, redis = stack.enter_context(services.postgresql()), stack.enter_context(services.redis())
        servers: list[Server] = []
        for _ in range(processes):
            more = {"DATABASE_URL": database.url, "REDIS_URL": redis.url}
            servers.append(stack.enter_context(ours(more, token=servers[0].token if servers else "")))
        nginx = stack.enter_context(services.nginx(*(server.port for server in servers), keepalive=64))
        return steady(replace(servers[0], port=nginx.port), servers, program, PAGES * processes, SECONDS)


def processes(program: str) -> dict[str, float]:
    one, two = measured(program, 1), measured(program, 2)
    print("one process", one)
    print("two processes", two)
    # Twice the pages, at the load of each over that of one.
    return {"second_process": round(2 * one["server_load"] / (two["server_load"] / 2), 2)}
