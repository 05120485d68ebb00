"""Measure a crowd of real pages on one process, a restart under it, and a rush of new pages. The last line is JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from tests import services
from tests.bench.crowd.load import load, measured, steady
from tests.bench.crowd.processes import processes
from tests.bench.crowd.servers import compiled, ours, plain
from tests.bench.crowd.threads import threads
from tests.repository import ROOT

PARTS = os.environ.get("PARTS", "pages peer storm rush processes threads lists").split()
PAGES = [int(count) for count in os.environ.get("PAGES", "500 2000 5000").split()]
SECONDS = float(os.environ.get("SECONDS", "15"))  # of one measurement
RUSH_PER_SECOND, RUSH_SECONDS = 400, 20.0
FOLLOWED_SECONDS = 60.0  # from a restart, and from the beginning of a rush

console = Console(width=150)


def pages(make: Callable[[], Any], program: str) -> dict[str, float]:
    """Measure so many open pages as `PAGES` says, each on a server of its own."""
    results: dict[str, float] = {}
    table = Table(title=f"Pages of one dataset, reports at 10/s and 50 at 1/s, {SECONDS:g} s each")
    for name in ("server", "pages", "header p50", "p99", "failed", "age p50", "p99", "report p50", "p99", "taken"):
        table.add_column(name, justify="left" if name == "server" else "right")
    for name in ("server's core", "crowd's core"):
        table.add_column(name, justify="right")
    for count in PAGES:
        with make() as server:
            found = steady(server, [server], program, count, SECONDS)
        print(server.name, count, found, file=sys.stderr)
        table.add_row(
            server.name, f"{count:,}", f"{found['header_p50']} ms", f"{found['header_p99']} ms",
            f"{found['failed']}", f"{found['age_p50']} ms", f"{found['age_p99']} ms",
            f"{found['report_p50']:.0f} ms", f"{found['report_p99']:.0f} ms", f"{found['share']:.1%}",
            f"{found['server_load']:.0%}", f"{found['crowd_load']:.0%}",
        )  # fmt: skip
        results |= {f"header_p99_ms_{count}": found["header_p99"], f"reports_share_{count}": found["share"]}
    console.print(table)
    return results


def peer(program: str) -> dict[str, float]:
    """Measure the same pages on the plain recipe, for the table alone."""
    pages(plain, program)
    return {}


def storm(program: str) -> dict[str, float]:
    """Kill the server under its pages and start it again."""
    with ours() as server, load(server, program, PAGES[-1]) as (crowd, reporters):
        crowd.result(f"open {PAGES[-1]} 0")
        measured([server], crowd, reporters, 6)
        server.kill()
        server.start()
        crowd.ask("storm")
        taken = reporters.result(f"measure {FOLLOWED_SECONDS}")
        crowd.ask("measure 1")
        answer = crowd.answer()
    print("storm", answer, taken, file=sys.stderr)
    return {f"storm_s_{PAGES[-1]}": answer.get("storm_s", float("inf")), "reports_share_storm": taken["share"]}


def rush(program: str) -> dict[str, float]:
    """Load new pages, at a rate that is more than the server can take, and look at them a while later."""
    count = round(RUSH_PER_SECOND * RUSH_SECONDS)
    with ours() as server, load(server, program, count) as (crowd, reporters):
        crowd.ask(f"open {count} {RUSH_PER_SECOND}")
        taken = reporters.result(f"measure {FOLLOWED_SECONDS}")
        crowd.ask("measure 1")
        answer: dict[str, Any] = {}
        while "live" not in answer:  # where all pages are open before, the crowd says so first
            answer |= crowd.answer()
    print("rush", answer, taken, file=sys.stderr)
    return {"rush_live": answer["live"], "reports_share_rush": taken["share"]}


def lists(program: str) -> dict[str, float]:
    lines = services.run_quietly([sys.executable, "-m", "tests.bench.crowd.lists"], env={**os.environ}, cwd=ROOT)
    print(lines)
    results: dict[str, float] = json.loads(lines.splitlines()[-1])
    return results


def main() -> None:
    parts: dict[str, Callable[[str], dict[str, float]]] = {
        "pages": partial(pages, ours), "peer": peer, "storm": storm, "rush": rush, "lists": lists,
        "processes": processes, "threads": threads,
    }  # fmt: skip
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-crowd-") as folder:
        program = compiled(folder)
        for name in PARTS:
            results |= parts[name](program)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
