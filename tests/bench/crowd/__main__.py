"""Measure a crowd of real pages on one process, a restart under it, and a rush of new pages. The last line is JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from tests import services
from tests.bench.crowd.servers import Server, compiled, ours, plain
from tests.repository import ROOT

PAGES = [int(count) for count in os.environ.get("PAGES", "500 2000 5000").split()]
SECONDS = float(os.environ.get("SECONDS", "15"))  # of one measurement
RUSH_PER_SECOND, RUSH_SECONDS = 400, float(os.environ.get("RUSH", "20"))
STORM_SECONDS = float(os.environ.get("STORM", "60"))  # for which a restart is followed
LISTS = os.environ.get("LISTS", "1") == "1"
PEER = os.environ.get("PEER", "1") == "1"
MAX_WAIT_SECONDS = 300

console = Console(width=140)


class Helper:
    """A program that is given commands, and answers each with a line of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def result(self, command: str) -> dict[str, Any]:
        self.ask(command)
        return self.answer()


@contextmanager
def helper(*command: str) -> Iterator[Helper]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield Helper(process)
        process.kill()


@contextmanager
def load(server: Server, program: str, most: int) -> Iterator[tuple[Helper, Helper]]:
    """Run a crowd and the reporters."""
    with (
        helper(sys.executable, "-m", "tests.bench.crowd.reporters", str(server.port), server.token, server.report_path)
        as reporters,
        helper(program, str(server.port), "bench", str(most)) as crowd,
    ):  # fmt: skip
        reporters.result("measure 2")
        yield crowd, reporters


def measured(crowd: Helper, reporters: Helper, seconds: float) -> dict[str, Any]:
    crowd.ask(f"measure {seconds}")
    taken = reporters.result(f"measure {seconds}")
    return crowd.answer() | taken


def steady(server: Server, program: str, pages: int) -> dict[str, Any]:
    with load(server, program, pages) as (crowd, reporters):
        crowd.result(f"open {pages} 0")
        measured(crowd, reporters, 4)
        return measured(crowd, reporters, SECONDS)


def storm(server: Server, program: str, pages: int) -> dict[str, Any]:
    """Kill the server under its pages and start it again."""
    with load(server, program, pages) as (crowd, reporters):
        crowd.result(f"open {pages} 0")
        measured(crowd, reporters, 6)
        server.kill()
        server.start()
        crowd.ask("storm")
        taken = reporters.result(f"measure {STORM_SECONDS}")
        crowd.ask("measure 1")
        answer = crowd.answer()
        return {"storm_s": answer.get("storm_s", float("inf")), "share": taken["share"], "p99": taken["report_p99"]}


def rush(server: Server, program: str) -> dict[str, Any]:
    pages = round(RUSH_PER_SECOND * RUSH_SECONDS)
    with load(server, program, pages) as (crowd, reporters):
        crowd.ask(f"open {pages} {RUSH_PER_SECOND}")
        taken = reporters.result(f"measure {RUSH_SECONDS}")
        return crowd.answer() | taken


def main() -> None:
    with ExitStack() as stack:
        program = compiled(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-crowd-")))
        results: dict[str, float] = {}
        table = Table(title=f"Pages of one dataset, reports at 10/s and 50 at 1/s, {SECONDS:g} s each")
        for name in ("server", "pages", "header p50", "p99", "failed", "age p50", "p99", "report p50", "p99", "taken"):
            table.add_column(name, justify="left" if name == "server" else "right")
        for make in (ours, plain) if PEER else (ours,):
            for pages in PAGES:
                with make() as server:
                    found = steady(server, program, pages)
                print(server.name, pages, found, file=sys.stderr)
                table.add_row(
                    server.name, f"{pages:,}", f"{found['header_p50']} ms", f"{found['header_p99']} ms",
                    f"{found['failed']}", f"{found['age_p50']} ms", f"{found['age_p99']} ms",
                    f"{found['report_p50']:.0f} ms", f"{found['report_p99']:.0f} ms", f"{found['share']:.1%}",
                )  # fmt: skip
                if make is ours:
                    results |= {f"header_p99_ms_{pages}": found["header_p99"], f"reports_share_{pages}": found["share"]}
        console.print(table)
        if STORM_SECONDS:
            with ours() as server:
                found = storm(server, program, PAGES[-1])
            print("storm", found, file=sys.stderr)
            results |= {f"storm_s_{PAGES[-1]}": found["storm_s"], "reports_share_storm": found["share"]}
        if RUSH_SECONDS:
            with ours() as server:
                found = rush(server, program)
            print("rush", found, file=sys.stderr)
            results |= {"rush_opened_s": found["opened_s"], "reports_share_rush": found["share"]}
        if LISTS:
            lines = services.run_quietly(
                [sys.executable, "-m", "tests.bench.crowd.lists"], env={**os.environ}, cwd=ROOT
            )
            print(lines)
            results |= json.loads(lines.splitlines()[-1])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
