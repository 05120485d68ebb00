"""The two servers that are compared, each with a database of its own, which a kill -9 leaves in place.

The crowd and the reporters share one core, so that they do not move about among what they measure. A server may use
all, as it would: its database calls run beside its event loop.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests import services
from tests.processes import DAPHNE
from tests.repository import ROOT

# The words before a command that keep it on the last core.
ON_LOAD_CORE = ["taskset", "-c", str(max(os.sched_getaffinity(0)))]


@dataclass
class Server:
    name: str
    command: list[str]
    env: dict[str, str]
    port: int
    token: str
    report_path: str
    log: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = self._stack.enter_context(
            services.running(
                self.command,
                ready=lambda: services.answers(self.port),
                log=self.log,
                env=self.env,
                cwd=ROOT,
            )
        )

    @property
    def processor_seconds(self) -> float:
        """The processor time that the process has taken."""
        assert self.process is not None
        spent = psutil.Process(self.process.pid).cpu_times()
        return float(spent.user + spent.system)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def ours(more: dict[str, str] | None = None, token: str = "") -> Iterator[Server]:
    """This site. ``more``: further environment. ``token``: one that the database has; else a new one."""
    with tempfile.TemporaryDirectory(prefix="bench-crowd-") as folder:
        Path(folder, "static").mkdir()
        env = {
            **os.environ, "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "LOG_LEVEL": "ERROR", "DATABASE_URL": os.environ.get("DATABASE_URL", ""), "SOCKETS_PER_ADDRESS": "0",
            "TOKEN_REQUESTS_A_SECOND": "0", "REDIS_URL": "", **(more or {}),
        }  # fmt: skip
        manage = [sys.executable, "manage.py"]
        services.run_quietly([*manage, "migrate"], env=env, cwd=ROOT)
        services.run_quietly([*manage, "collectstatic", "--no-input"], env=env, cwd=ROOT)
        token = token or services.run_quietly([*manage, "create_token", "bench"], env=env, cwd=ROOT).strip()
        port = services.free_port()
        command = [sys.executable, *DAPHNE, str(port), "progress_site.asgi:application"]
        yield from _running("ours", command, env, port, token, "/api/datasets/{}/progress", folder)


@contextmanager
def plain() -> Iterator[Server]:
    """The plain recipe, under Daphne as it comes."""
    with tempfile.TemporaryDirectory(prefix="bench-crowd-") as folder:
        env = {**os.environ, "PLAIN_DATABASE": f"{folder}/plain.sqlite3"}
        port = services.free_port()
        daphne = "import resource as r; n = r.getrlimit(7)[1]; r.setrlimit(7, (n, n)); "
        daphne += "from daphne.cli import CommandLineInterface as C; C.entrypoint()"
        command = [sys.executable, "-c", daphne, "-b", "127.0.0.1", "-p", str(port)]
        yield from _running(
            "plain recipe", [*command, "tests.bench.crowd.plain:application"], env, port, "-", "/report/{}", folder
        )


def _running(
    name: str, command: list[str], env: dict[str, str], port: int, token: str, path: str, folder: str
) -> Iterator[Server]:
    server = Server(name, command, env, port, token, path, Path(folder, "log"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def compiled(folder: str) -> str:
    """Compile the crowd. Returns the path of the program."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("A C compiler is needed: apt-get install gcc libc6-dev")
    program = f"{folder}/crowd"
    subprocess.run([compiler, "-O2", "-o", program, Path(__file__).with_name("crowd.c")], check=True)
    return program
