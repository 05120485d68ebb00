"""A site with an empty database, for benchmarks that report to it over HTTP."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests import services
from tests.repository import ROOT


@dataclass(frozen=True, slots=True)
class Site:
    process: psutil.Process
    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def site(database_url: str = "") -> Iterator[Site]:
    """Start a server on a new SQLite database, or on the empty one at ``database_url``. Its token may do anything."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder, "static").mkdir()
        env = {
            **os.environ, "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "LOG_LEVEL": "ERROR", "DATABASE_URL": database_url or f"sqlite:///{folder}/progress.sqlite3",
            "TOKEN_REQUESTS_A_SECOND": "0", "REDIS_URL": "",
        }  # fmt: skip
        manage = [sys.executable, "manage.py"]
        services.run_quietly([*manage, "migrate"], env=env, cwd=ROOT)
        token = services.run_quietly([*manage, "create_token", "bench"], env=env, cwd=ROOT).strip()
        port = services.free_port()
        command = [
            sys.executable, "-m", "progress_site.servers.daphne", "-b", "127.0.0.1", "-p", str(port),
            "progress_site.asgi:application",
        ]  # fmt: skip
        with services.running(
            command, ready=lambda: services.answers(port), log=Path(folder, "log"), env=env, cwd=ROOT
        ) as process:
            yield Site(psutil.Process(process.pid), port, token)
