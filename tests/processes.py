"""The program's own processes, as they run in production, on the tests' database."""

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
# What comes before the port; the application comes after it.
DAPHNE = ("-m", "progress_site.servers.daphne", "-b", "127.0.0.1", "-p")
UVICORN = ("-m", "uvicorn", "--ws", "progress_site.servers.uvicorn:Protocol", "--host", "127.0.0.1", "--port")


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
    """The environment of a process that shares this process's database and data folder."""
    return {**os.environ, "DATABASE_URL": database_url(), "DATA_DIR": str(settings.DATA_DIR), **(extra or {})}


def database_url() -> str:
    """The address of the database that the tests use, which pytest-django has made."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    return f"postgres://{values['USER']}@{values['HOST']}:{values['PORT']}/{values['NAME']}"


@cache
def collect_static() -> None:
    """The static files as a page in production names them."""
    command = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True)


@contextmanager
def web_server(
    log: Path, env: Mapping[str, str] | None = None, port: int | None = None, program: Sequence[str] = DAPHNE
) -> Iterator[Server]:
    """A web process, ready to answer. Name the ``port`` to start it again where it was."""
    port = port or free_port()
    command = [sys.executable, *program, str(port), APPLICATION]
    with running(command, ready=lambda: answers(port), log=log, env=environment(env), cwd=ROOT) as process:
        yield Server(port, process)


@contextmanager
def worker(log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, in a process group of its own."""
    command = [sys.executable, "manage.py", "worker"]

    def started() -> bool:
        return "Starting worker" in log.read_text()

    with running(command, ready=started, log=log, env=environment(env), cwd=ROOT, start_new_session=True) as process:
        yield process


def kill(process: subprocess.Popen[bytes]) -> None:
    """``kill -9``, and wait until it is dead."""
    process.send_signal(signal.SIGKILL)
    process.wait()
