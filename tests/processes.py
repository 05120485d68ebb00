"""Web processes and workers, started as in production, on the database of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db import connection

from .repository import ROOT
from .services import answers, free_port, running

APPLICATION = "progress_site.asgi:application"
# Arguments before the port. The application comes after it.
DAPHNE = ("-m", "progress_site.servers.daphne", "-b", "127.0.0.1", "-p")
UVICORN_OURS = ("--http", "progress_site.servers.uvicorn:Http", "--ws", "progress_site.servers.uvicorn:Protocol")
UVICORN = ("-m", "uvicorn", *UVICORN_OURS, "--host", "127.0.0.1", "--port")


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def socket_url(self) -> str:
        return f"ws://{self.host}"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that shares the database and the data folder of this one."""
    return {**os.environ, "DATABASE_URL": database_url(), "DATA_DIR": str(settings.DATA_DIR), **(extra or {})}


def database_url() -> str:
    """Return the address of the database that pytest-django created for the tests."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    return f"postgres://{values['USER']}@{values['HOST']}:{values['PORT']}/{values['NAME']}"


@cache
def collect_static() -> None:
    """Collect the static files under their names in production."""
    command = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True)


@contextmanager
def web_server(
    log: Path, env: Mapping[str, str] | None = None, port: int | None = None, program: Sequence[str] = DAPHNE
) -> Iterator[Server]:
    """Start a web process and wait until it answers. Give the ``port`` to restart one where it was."""
    port = port or free_port()
    command = [sys.executable, *program, str(port), APPLICATION]
    with running(command, ready=lambda: answers(port), log=log, env=environment(env), cwd=ROOT) as process:
        yield Server(port, process)


@contextmanager
def worker(log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker, in its own process group."""
    command = [sys.executable, "manage.py", "worker"]

    def started() -> bool:
        return "Starting worker" in log.read_text()

    with running(command, ready=started, log=log, env=environment(env), cwd=ROOT, start_new_session=True) as process:
        yield process


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with SIGKILL and wait until it is dead."""
    process.send_signal(signal.SIGKILL)
    process.wait()
