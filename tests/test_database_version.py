"""A database with migrations that this version does not have is refused, in one line, by whatever would use it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from progress_site.startup import USAGE
from tests.processes import APPLICATION, DAPHNE, UVICORN
from tests.repository import ROOT
from tests.services import free_port, run_quietly


def execute(env: dict[str, str], statement: str) -> None:
    with closing(sqlite3.connect(Path(env["DATA_DIR"], "progress.sqlite3"))) as database, database:
        database.execute(statement)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of programs with a database on which an unknown migration was applied."""
    data_dir = tmp_path_factory.mktemp("data")
    env = {**os.environ, "DATA_DIR": str(data_dir), "DATABASE_URL": "", "PORT": str(free_port())}
    run_quietly([sys.executable, "manage.py", "migrate"], env=env, cwd=ROOT)
    execute(env, "INSERT INTO django_migrations (app, name, applied) VALUES ('progress', '0002_shares', '2026-01-01')")
    return env


@pytest.mark.parametrize(
    "arguments",
    [
        ("manage.py", "migrate"),
        ("manage.py", "worker"),
        ("manage.py", "process", str(ROOT), "--dataset", "cats"),
        ("-m", "progress_site.demo"),
        (*DAPHNE, "0", APPLICATION),
        (*UVICORN, "0", APPLICATION),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_it_is_refused(env: dict[str, str], arguments: tuple[str, ...]) -> None:
    command = [sys.executable, *arguments]
    result = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (USAGE, "")
    [line] = result.stderr.strip().splitlines()
    assert "progress.sqlite3 has the migration progress.0002_shares, which this version does not have." in line
    assert "move or delete it" in line


def test_migrations_of_other_packages_do_not_matter(env: dict[str, str]) -> None:
    execute(env, "UPDATE django_migrations SET app = 'auth' WHERE name = '0002_shares'")
    run_quietly([sys.executable, "manage.py", "migrate"], env=env, cwd=ROOT)
