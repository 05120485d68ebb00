"""A worker outlives its database and its disk, whatever it is doing, and the run goes on by itself.

The worker stops itself once in each phase. Then its database or its disk fails, and it is continued.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from tests import services
from tests.images import make_images
from tests.pipeline.work.stopping_worker import PHASES
from tests.repository import ROOT
from tests.services import wait_until

pytestmark = pytest.mark.long

IMAGES = 6
LEASE_SECONDS = 2
PATIENCE = 60.0


# It calls what it is given in the middle of the outage: that continues the worker.
Outage = Callable[[Callable[[], None]], None]


class Site:
    """A database of its own, and one worker on it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.data = folder
        self.database_url = database_url
        self.log = folder.parent / "log"
        self.complaints_before = 0
        self.env = {
            **os.environ, "DATA_DIR": str(folder), "DATABASE_URL": database_url, "LEASE_SECONDS": str(LEASE_SECONDS),
            "PIPELINE_PROCESSES": "1", "DJANGO_SETTINGS_MODULE": "progress_site.settings",
        }  # fmt: skip

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.env, check=True)

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        command = [sys.executable, "-m", "tests.pipeline.work.stopping_worker"]

        def has_started() -> bool:
            return "Starting worker" in self.text()

        with services.running(
            command, ready=has_started, log=self.log, env=self.env, cwd=ROOT, stop=signal.SIGKILL
        ) as process:
            yield psutil.Process(process.pid)

    def text(self) -> str:
        return self.log.read_text()

    def ask(self, query: str) -> list[tuple[object, ...]]:
        if self.database_url.startswith("postgres"):
            with psycopg.connect(self.database_url) as connection:
                return connection.execute(query).fetchall()
        with closing(sqlite3.connect(self.database_url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query).fetchall()

    def state(self) -> str:
        return str(self.ask("SELECT state FROM progress_run ORDER BY id DESC LIMIT 1")[0][0])


def complaints(site: Site) -> int:
    """How often the worker's log says that it cannot go on."""
    return sum(site.text().count(words) for words in ("cannot work", "is interrupted", "waits for its disk"))


def until_noticed(site: Site) -> None:
    """Return once the worker's log says so once more than before the outage."""
    what = f"the worker did not notice: {site.text()}"
    wait_until(lambda: complaints(site) > site.complaints_before, seconds=PATIENCE, what=what)


def campaign(site: Site, outage: Outage, *, while_idle: bool = True) -> None:
    """Have an outage while the worker is idle, and one in each phase of a run."""
    images = site.data.parent / "images"
    make_images(images, IMAGES)
    site.manage("migrate", "--verbosity", "0")
    with site.worker() as worker:
        if while_idle:
            site.complaints_before = complaints(site)
            outage(worker.resume)
        site.manage("process", str(images), "--dataset", "cats")
        for phase in PHASES:
            wait_until(
                lambda: worker.status() == psutil.STATUS_STOPPED, seconds=PATIENCE, what=f"no {phase}: {site.text()}"
            )
            site.complaints_before = complaints(site)
            outage(worker.resume)
        wait_until(lambda: site.state() in ("ready", "error"), seconds=PATIENCE, what=f"no end: {site.text()}")
        assert site.state() == "ready", site.text()
        assert worker.is_running()
    assert site.ask("SELECT count(*), count(DISTINCT path), count(embedding_block_id) FROM datasets_sample") == [
        (IMAGES, IMAGES, IMAGES)
    ]
    assert site.ask("SELECT count(*) FROM progress_itemfailure") == [(0,)]
    assert "Traceback" not in site.text()


def test_worker_outlives_a_restart_of_postgresql(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with services.postgresql() as server:
        site = Site(tmp_path / "data", server.url)

        def restart(resume: Callable[[], None]) -> None:
            with server.stopped():
                pass
            resume()

        campaign(site, restart)


def test_worker_outlives_a_postgresql_that_stays_away(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with services.postgresql() as server:
        site = Site(tmp_path / "data", server.url)

        def stay_away(resume: Callable[[], None]) -> None:
            with server.stopped():
                resume()
                until_noticed(site)

        campaign(site, stay_away)


def test_worker_outlives_a_postgresql_that_is_frozen(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with services.postgresql() as server:
        site = Site(tmp_path / "data", server.url)

        def freeze(resume: Callable[[], None]) -> None:
            with server.frozen():
                resume()
                time.sleep(LEASE_SECONDS + 1)  # nobody says anything meanwhile

        campaign(site, freeze)


def test_worker_outlives_a_sqlite_that_is_locked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    database = tmp_path / "data" / "db.sqlite3"
    site = Site(database.parent, f"sqlite:///{database}")

    def lock(resume: Callable[[], None]) -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            resume()
            until_noticed(site)
            connection.execute("ROLLBACK")

    campaign(site, lock)


def test_worker_outlives_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    data = small_disk / "data"
    data.mkdir()
    database = data / "db.sqlite3"
    site = Site(data, f"sqlite:///{database}")
    site.log = tmp_path / "log"

    def fill(resume: Callable[[], None]) -> None:
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    break
        resume()
        until_noticed(site)
        filler.unlink()

    campaign(site, fill, while_idle=False)  # an idle worker writes nothing
