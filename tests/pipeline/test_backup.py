"""`manage.py backup` and `restore`, while a server takes reports and a page's socket is open."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from dataset_progress import watch
from django.core.management import CommandError, call_command
from django.db import connection

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.pipeline.models import Job
from apps.progress import services as progress
from apps.progress.models import Head
from apps.progress.selectors import progress_of
from tests.processes import Server, collect_static, web_server
from tests.services import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="is for SQLite"),
]


@pytest.fixture
def server(transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    collect_static()
    with web_server(tmp_path / "log", env={"TOKEN_REQUESTS_A_SECOND": "0"}) as server:
        yield server


class Reporter:
    """Reports the next count without a pause, from a thread."""

    def __init__(self, server: Server) -> None:
        _, secret = issue_token("reporter")
        self.client = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
        self.current = 0
        self.refused: list[str] = []
        self._is_over = threading.Event()

    def work(self) -> None:
        while not self._is_over.is_set():
            answer = self.client.post("/api/datasets/cats/progress", json={"current": self.current + 1, "total": 10**6})
            self.current += 1
            if answer.status_code != 200:
                self.refused.append(answer.text)

    @contextmanager
    def working(self) -> Iterator[None]:
        thread = threading.Thread(target=self.work)
        thread.start()
        yield
        self._is_over.set()
        thread.join()
        self.client.close()


def test_copy_is_made_and_put_back_while_reports_come_in(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "copy.sqlite3"
    Dataset.objects.create(dataset_id="cats", visibility="public")
    reporter = Reporter(server)
    with reporter.working(), watch("cats", url=server.url, max_failures=1000) as watched:

        def sees(least: int) -> bool:
            return watched.progress is not None and watched.progress.current >= least

        wait_until(lambda: sees(20), seconds=60, what="no report came")
        call_command("backup", str(file))
        copied_before = reporter.current
        wait_until(lambda: sees(copied_before + 50), seconds=60, what="reports have stopped")
        before = progress_of(Dataset.objects.get().pk)
        call_command("restore", str(file))
        wait_until(
            lambda: watched.progress is not None and watched.progress.epoch != before.epoch,
            seconds=10, what="the restored state is not seen",
        )  # fmt: skip
        reported = reporter.current
        wait_until(lambda: sees(reported + 20), seconds=60, what="reports have stopped")
    assert reporter.refused == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with closing(sqlite3.connect(file)) as copy:
        [(version,)] = copy.execute("SELECT version FROM progress_head")
        assert 20 <= version <= copied_before + 2
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    after = progress_of(Dataset.objects.get().pk)
    assert after.current == reporter.current
    assert sorted(tmp_path.glob(".copy-*")) == []


def test_restored_state_is_that_of_the_copy(transactional_db: None, tmp_path: Path) -> None:
    file = tmp_path / "copy"
    dataset = Dataset.objects.create(dataset_id="cats")
    run = progress.begin_run(dataset)
    Job.objects.create(run=run, lease_token="held", lease_until="2030-01-01T00:00Z")
    epoch = Head.objects.get().epoch
    call_command("backup", str(file))
    progress.finish(run.pk)
    Dataset.objects.create(dataset_id="later")
    call_command("restore", str(file))
    assert progress_of(dataset.pk).state == "pending"
    assert Dataset.objects.get() == dataset
    assert Head.objects.get().epoch != epoch
    assert Job.objects.get().lease_token == ""  # no worker goes on with what it did after the copy
    call_command("backup", str(file))  # over the earlier one


def test_what_is_no_copy_is_refused_and_changes_nothing(transactional_db: None, tmp_path: Path) -> None:
    Dataset.objects.create(dataset_id="cats")
    nothing, text, other, later = (tmp_path / name for name in ("nothing", "text", "other", "later"))
    text.write_text("no database")
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("CREATE TABLE other (id)")
    call_command("backup", str(later))
    with closing(sqlite3.connect(later)) as database, database:
        database.execute("INSERT INTO django_migrations VALUES (NULL, 'progress', '9999_later', '2030-01-01')")
    for file, why in (
        (nothing, "There is no file"), (text, "cannot be copied"), (other, "is no copy"), (later, "9999_later"),
    ):  # fmt: skip
        with pytest.raises(CommandError, match=why):
            call_command("restore", str(file))
    with pytest.raises(CommandError, match="Nothing can be written"):
        call_command("backup", str(tmp_path / "no" / "folder"))
    assert Dataset.objects.get().dataset_id == "cats"


def test_postgresql_has_its_own_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    for command in ("backup", "restore"):
        with pytest.raises(CommandError, match="pg_dump"):
            call_command(command, str(tmp_path / "copy"))
