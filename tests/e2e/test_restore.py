"""An older copy of the database is put back under open pages and programs: they show what it has."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from dataset_progress import watch
from django.db import connection
from playwright.sync_api import Page, expect

from apps.progress import services as progress
from apps.progress.models import Run
from tests import services as programs
from tests.processes import Server, kill, web_server

from .conftest import is_live, report_and_see, see

pytestmark = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="copies the file of the database")


def copy(source: Path | str, target: Path | str) -> None:
    """Copy a database that others have open, as SQLite's own `.backup` and `.restore` do."""
    with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(target)) as theirs:
        ours.backup(theirs)


@pytest.fixture
def backup(run: Run, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A copy at 10 of `TOTAL`. Call it to put the copy back."""
    database, file = connection.settings_dict["NAME"], tmp_path / "copy"
    progress.report(run.pk, current=10)
    copy(database, file)
    yield lambda: copy(file, database)
    connection.close()


def epoch(page: Page) -> str:
    return page.locator("#dataset-live").get_attribute("data-epoch") or ""


def test_open_pages_and_programs_show_the_restored_state(
    visit: Callable[..., Page], run: Run, server: Server, backup: Callable[[], None]
) -> None:
    page, rows = visit(f"{server.url}/datasets/cats/"), visit(f"{server.url}/")
    for one in (page, rows):
        is_live(one)
    with watch("cats", url=server.url, max_failures=1000) as watched:

        def is_seen(current: int) -> bool:
            return watched.progress is not None and watched.progress.current == current

        report_and_see(run, 4000, page)
        programs.wait_until(lambda: is_seen(4000), seconds=60, what="watch does not see 4000")
        backup()
        see(page, 10, seconds=10)
        programs.wait_until(lambda: is_seen(10), seconds=10, what="watch does not see the restored state")
    expect(rows.locator("#row-cats")).to_contain_text("1%")
    # The header polls every 3 s, and the rest of the page is fetched again.
    expect(page.locator("#progress-header")).to_have_attribute("data-epoch", epoch(page))
    expect(page.locator("#dataset-body")).to_have_attribute("data-phase", re.compile(epoch(page)))
    report_and_see(run, 20, page)


@pytest.mark.parametrize("has_socket", [True, False])
def test_page_shows_what_a_server_has_that_comes_back_with_an_older_database(
    visit: Callable[..., Page], run: Run, tmp_path: Path, backup: Callable[[], None], has_socket: bool
) -> None:
    port = programs.free_port()
    with web_server(tmp_path / "first.log", port=port) as server:
        page = visit("about:blank")
        if not has_socket:
            page.route_web_socket("**/progress/live/", lambda socket: socket.close())
        page.goto(f"{server.url}/datasets/cats/")
        report_and_see(run, 4000, page)
        expect(page.locator("#progress-header")).to_contain_text("40%")
        kill(server.process)
    before = epoch(page)
    backup()
    with web_server(tmp_path / "second.log", port=port):
        see(page, 10)
        expect(page.locator("#progress-header")).to_contain_text(re.compile(r"\b1%"))
        assert epoch(page) == before  # nobody said that it was restored
        report_and_see(run, 20, page)
    page.evaluate("sessionStorage.clear(); window.backwards = []")  # it went back, as it should
