"""The servers that are compared, and the site that ours serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tests import processes, services
from tests.repository import ROOT

DAPHNE = (sys.executable, *processes.DAPHNE)
UVICORN = (sys.executable, *processes.UVICORN[:2], "--log-level", "warning", *processes.UVICORN[2:])
PLAIN_DAPHNE = (sys.executable, "-m", "tests.bench.live.plain_daphne", *processes.DAPHNE[2:])
SUBSCRIBE = '{"type":"subscribe","dataset_id":"bench"}'
SOCKET = "/api/datasets/bench/progress/ws"


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: how to start it, what its watchers open and send, and how its reporter reaches it."""

    name: str
    command: tuple[str, ...]  # up to the port
    application: tuple[str, ...]
    path: str
    subscribe: str
    reports_to: str  # "database" or "socket"


OURS = Server("ours", DAPHNE, ("progress_site.asgi:application",), SOCKET, SUBSCRIBE, "database")
OURS_UVICORN = Server("ours, Uvicorn", UVICORN, ("progress_site.asgi:application",), SOCKET, SUBSCRIBE, "database")
OURS_PAGES = replace(OURS, name="ours, pages", path="/datasets/bench/progress/live/", subscribe="-")
PLAIN = Server("plain recipe", PLAIN_DAPHNE, ("tests.bench.live.plain:application",), "/watch", "-", "socket")
BROADCAST = Server("bare broadcast", (sys.executable, "-m", "tests.bench.live.broadcast"), (), "/watch", "-", "socket")


@dataclass(frozen=True, slots=True)
class Site:
    """A database with one dataset whose run is under way, a Redis, and the compiled receiver."""

    env: dict[str, str]
    receiver: str
    dataset_pk: int


@contextmanager
def site() -> Iterator[Site]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("A C compiler is needed: apt-get install gcc libc6-dev")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-live-"))
        receiver = f"{folder}/receiver"
        subprocess.run([compiler, "-O2", "-o", receiver, Path(__file__).with_name("receiver.c")], check=True)
        redis = stack.enter_context(services.redis())
        ours = {
            "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "LOG_LEVEL": "ERROR", "REDIS_URL": redis.url, "SOCKETS_PER_ADDRESS": "0",
        }  # fmt: skip
        Path(folder, "static").mkdir()
        os.environ.pop("DATABASE_URL", None)
        os.environ |= ours
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        from apps.datasets.models import Dataset
        from apps.progress import services as progress

        dataset = Dataset.objects.create(dataset_id="bench", visibility="public")
        run = progress.begin_run(dataset, [progress.StagePlan("index", total=10_000_000)])
        progress.start_stage(run.pk, "index")
        yield Site({**os.environ}, receiver, dataset.pk)


@contextmanager
def serving(site: Site, server: Server) -> Iterator[tuple[psutil.Process, int]]:
    """Run the server; yield its process and port."""
    port = services.free_port()
    command = [*server.command, str(port), *server.application]
    with (
        tempfile.NamedTemporaryFile() as log,
        services.running(
            command, ready=lambda: services.answers(port), log=Path(log.name), env=site.env, cwd=ROOT
        ) as process,
    ):
        yield psutil.Process(process.pid), port
