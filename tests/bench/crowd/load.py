"""The load on a server: the crowd of pages and the reporters, each a program that obeys commands."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.bench.crowd.servers import ON_LOAD_CORE, Server
from tests.repository import ROOT

WARM_UP_SECONDS = 4


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
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._process.args!r} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def result(self, command: str) -> dict[str, Any]:
        self.ask(command)
        return self.answer()


@contextmanager
def helper(*command: str) -> Iterator[Helper]:
    words = [*ON_LOAD_CORE, *command]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield Helper(process)
        finally:
            process.kill()


@contextmanager
def load(server: Server, program: str, most: int) -> Iterator[tuple[Helper, Helper]]:
    """Run a crowd of at most ``most`` pages, none of which is open yet, and the reporters."""
    reporting = (sys.executable, "-m", "tests.bench.crowd.reporters", str(server.port), server.token)
    with (
        helper(*reporting, server.report_path) as reporters,
        helper(program, str(server.port), "bench", str(most)) as crowd,
    ):
        reporters.result("measure 2")
        yield crowd, reporters


def measured(servers: Sequence[Server], crowd: Helper, reporters: Helper, seconds: float) -> dict[str, Any]:
    """Return what pages and reporters saw for ``seconds``, and how many cores the servers and the crowd took."""
    spent, began = _spent(servers), time.monotonic()
    crowd.ask(f"measure {seconds}")
    taken = reporters.result(f"measure {seconds}")
    answer = crowd.answer()
    cores = (_spent(servers) - spent) / (time.monotonic() - began)
    return {**answer, **taken, "server_load": round(cores, 2)}


def _spent(servers: Sequence[Server]) -> float:
    return sum(server.processor_seconds for server in servers)


def steady(front: Server, servers: Sequence[Server], program: str, pages: int, seconds: float) -> dict[str, Any]:
    """Measure open pages of ``front``, which is one of the servers, or stands before them."""
    with load(front, program, pages) as (crowd, reporters):
        crowd.result(f"open {pages} 0")
        measured(servers, crowd, reporters, WARM_UP_SECONDS)
        return measured(servers, crowd, reporters, seconds)
