"""How many threads fit a database: pages that views render and reports, with more and more `REQUEST_THREADS`."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from typing import Final

from rich.console import Console
from rich.table import Table

from tests import services
from tests.bench.crowd.load import load
from tests.bench.crowd.reporters import OTHERS, read_answer
from tests.bench.crowd.servers import ours

SECONDS: Final = float(os.environ.get("SECONDS", "8"))
READERS: Final = 24  # each asks for the next page as soon as it has one
THREADS: Final = (1, 2, 4, 8, 16, 32)


def threads(program: str) -> dict[str, float]:
    """Measure both databases, for the table alone."""
    table = Table(title=f"{READERS} readers of pages, reports at 10/s and 50 at 1/s, {SECONDS:g} s each")
    for name in ("database", "threads", "pages/s", "page p50", "p99", "report p50", "p99", "taken"):
        table.add_column(name, justify="left" if name == "database" else "right")
    with ExitStack() as stack:
        for database, url in (("SQLite", ""), ("PostgreSQL", stack.enter_context(services.postgresql()).url)):
            for count in THREADS:
                more = {"DATABASE_URL": url, "REQUEST_THREADS": str(count)}
                with ours(more) as server, load(server, program, 1) as (_, reporters):
                    reporters.ask(f"measure {SECONDS}")
                    took = sorted(asyncio.run(_read(server.port)))
                    reported = reporters.answer()
                median, p99 = (took[int(share * (len(took) - 1))] for share in (0.5, 0.99))
                table.add_row(
                    database, str(count), f"{len(took) / SECONDS:.0f}", f"{median:.0f} ms", f"{p99:.0f} ms",
                    f"{reported['report_p50']:.0f} ms", f"{reported['report_p99']:.0f} ms", f"{reported['share']:.1%}",
                )  # fmt: skip
    Console(width=150).print(table)
    return {}


async def _read(port: int) -> list[float]:
    """Return how long each page took, in milliseconds, of those that were answered 200."""
    ends_at = time.monotonic() + SECONDS
    took: list[float] = []

    async def read_pages(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET /datasets/other-{number % OTHERS}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        while time.monotonic() < ends_at:
            began = time.monotonic()
            writer.write(request)
            head = await read_answer(reader)
            if head.split()[1] == b"200":
                took.append((time.monotonic() - began) * 1000)
        writer.close()

    await asyncio.gather(*(read_pages(number) for number in range(READERS)))
    return took
