"""What a second web process adds: the same pages on one process, and on two behind nginx, over PostgreSQL and Redis.

Compared is the processor time of the web processes: each can use a core of its own, so two that take together what one
takes serve twice as many pages. nginx, the databases and the load would need cores of their own besides.
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
PAGES = int(os.environ.get("PAGES", "500").split()[0])


def measured(program: str, processes: int) -> dict[str, Any]:
    """Measure the pages on so many processes, on new databases."""
    with ExitStack() as stack:
        database, redis = stack.enter_context(services.postgresql()), stack.enter_context(services.redis())
        servers: list[Server] = []
        for _ in range(processes):
            more = {"DATABASE_URL": database.url, "REDIS_URL": redis.url}
            servers.append(stack.enter_context(ours(more, token=servers[0].token if servers else "")))
        nginx = stack.enter_context(services.nginx(*(server.port for server in servers), keepalive=64))
        return steady(replace(servers[0], port=nginx.port), servers, program, PAGES, SECONDS)


def processes(program: str) -> dict[str, float]:
    one, two = measured(program, 1), measured(program, 2)
    print("one process", one)
    print("two processes", two)
    return {"second_process": round(2 * one["server_load"] / two["server_load"], 2)}
