"""Real servers for tests: PostgreSQL, Redis and nginx on free ports, each a context manager that stops what it started.

If a program is missing, the test is skipped, or fails with ``CI=true``. The reason names the Debian package.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

START_SECONDS = 60.0
STOP_SECONDS = 20.0


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def find_program(name: str, *, package: str, folders: Sequence[Path] = ()) -> str:
    """Return the path of a program. If it is missing, skip the test, or fail it in CI."""
    for folder in folders:
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    if found := shutil.which(name):
        return found
    reason = f"{name} is missing: apt-get install {package}"
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return whether something on this machine accepts connections at ``port``."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(ready: Callable[[], bool], *, seconds: float, what: str, every: float = 0.02) -> None:
    """Return as soon as ``ready()`` is true; raise `TimeoutError` naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {seconds:g} s")
        time.sleep(every)


def run_quietly(command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> str:
    """Return what a command prints. Raises `CalledProcessError` if it fails."""
    return subprocess.run(command, env=env, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def running(
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    log: Path,
    stop: signal.Signals = signal.SIGTERM,
    seconds: float = START_SECONDS,
    env: Mapping[str, str] | None = None,
    **popen: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process, wait until it is ready, and stop it at the end of the block. Its output goes to ``log``.

    The kernel stops it if this process is killed first.
    """
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", stop.name.removeprefix("SIG"), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, **popen
        )

    def ready_or_dead() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{log.read_text(errors='replace')}")
        return ready()

    try:
        wait_until(ready_or_dead, seconds=seconds, what=f"{' '.join(command)} was not ready; see {log}")
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(stop)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    host: str
    port: int
    start: Callable[[PostgreSQL], AbstractContextManager[object]]
    process: ExitStack  # of the running server
    user: str = "postgres"
    database: str = "postgres"

    @property
    def url(self) -> str:
        """For ``DATABASE_URL``."""
        return f"postgres://{self.user}@{self.host}:{self.port}/{self.database}"

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server, which disconnects its clients, and start it again at the end of the block."""
        self.process.close()
        try:
            yield
        finally:
            self.process.enter_context(self.start(self))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all processes of the server, as in a paused machine, and continue them at the end of the block."""
        with psycopg.connect(self.url) as connection:
            main = psutil.Process(connection.info.backend_pid).parent()
        assert main is not None
        main.suspend()  # first, so that it starts no others
        processes = [main, *main.children()]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()


def _postgresql_folders() -> list[Path]:
    """Return the folders of the server's programs, the newest version first. Debian keeps them off the PATH."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(folders, key=lambda folder: [int(n) for n in folder.parent.name.split(".") if n.isdigit()])[::-1]


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start a PostgreSQL server with an empty data folder. It syncs nothing to the disk."""
    folders = _postgresql_folders()
    initdb = find_program("initdb", package="postgresql", folders=folders)
    server = find_program("postgres", package="postgresql", folders=folders)
    # In /tmp, because another user reads the folder and the path of a socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    popen: dict[str, Any] = {"cwd": folder}
    try:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            popen |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = folder / "data"
        options = [
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        subprocess.run([initdb, "-D", str(data), *options], check=True, capture_output=True, **popen)

        def start(where: PostgreSQL) -> AbstractContextManager[object]:
            settings = {
                "listen_addresses": where.host, "port": where.port, "unix_socket_directories": folder, "fsync": "off",
                "synchronous_commit": "off", "full_page_writes": "off", "max_connections": 100,
            }  # fmt: skip
            command = [server, "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]
            # SIGINT is PostgreSQL's fast shutdown: it disconnects clients.
            return running(command, ready=where.answers, log=folder / "log", stop=signal.SIGINT, **popen)

        with ExitStack() as process:
            where = PostgreSQL("127.0.0.1", free_port(), start, process)
            process.enter_context(start(where))
            yield where
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Redis:
    host: str
    port: int

    @property
    def url(self) -> str:
        """For ``REDIS_URL``."""
        return f"redis://{self.host}:{self.port}/0"

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False


@contextmanager
def redis(port: int | None = None) -> Iterator[Redis]:
    """Start a Redis server that stores nothing. Give the ``port`` to restart one where it was."""
    server = find_program("redis-server", package="redis-server")
    where = Redis("127.0.0.1", port or free_port())
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        options = {"port": where.port, "bind": where.host, "save": "", "appendonly": "no", "dir": folder}
        command = [server, *(part for name, value in options.items() for part in (f"--{name}", str(value)))]
        with running(command, ready=where.answers, log=Path(folder, "log")):
            yield where


@dataclass(frozen=True, slots=True)
class Nginx:
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def proxy(self, *ports: int, websockets: bool) -> None:
        """From now on pass requests on to these ports in turn, with or without WebSockets."""
        _write_nginx(self.folder, self.port, ports, websockets=websockets)
        self.process.send_signal(signal.SIGHUP)


def _write_nginx(folder: Path, port: int, ports: Sequence[int], *, websockets: bool, keepalive: int = 0) -> None:
    upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrading;"
    servers = " ".join(f"server 127.0.0.1:{each};" for each in ports) + (
        f" keepalive {keepalive};" if keepalive else ""
    )
    Path(folder, "nginx.conf").write_text(f"""
        daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
        worker_rlimit_nofile 20000; events {{ worker_connections 20000; }}
        http {{
          access_log off;
          client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
          uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
          map $http_upgrade $upgrading {{ default upgrade; "" ""; }}
          upstream site {{ {servers} }}
          server {{
            listen 127.0.0.1:{port};
            location / {{ proxy_pass http://site; proxy_set_header Host $http_host; {upgrade if websockets else ""} }}
          }}
        }}
    """)


@contextmanager
def nginx(*ports: int, websockets: bool = True, keepalive: int = 0) -> Iterator[Nginx]:
    """Start an nginx in front of the servers on these ports. It keeps ``keepalive`` idle connections to them."""
    program = find_program("nginx", package="nginx", folders=[Path("/usr/sbin")])
    port = free_port()

    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        folder = Path(name)
        _write_nginx(folder, port, ports, websockets=websockets, keepalive=keepalive)
        command = [program, "-p", name, "-c", str(folder / "nginx.conf")]
        with running(command, ready=lambda: answers(port), log=folder / "log") as process:
            yield Nginx(port, folder, process)
