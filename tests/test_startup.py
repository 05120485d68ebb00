"""What no process can work without is told in one line when it starts, with exit status 2."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from progress_site.startup import USAGE
from tests.processes import APPLICATION, DAPHNE, UVICORN
from tests.repository import ROOT
from tests.services import find_program, free_port

NO_DATABASE = {"DATABASE_URL": "postgres://nobody:secret@127.0.0.1:9/nothing"}
NO_REDIS = {"REDIS_URL": "redis://:secret@127.0.0.1:9/0"}
WEB = (*DAPHNE, "0", APPLICATION)
UVICORN_WEB = (*UVICORN, "0", APPLICATION)
WORKER = ("manage.py", "worker")
PROCESS = ("manage.py", "process", str(ROOT), "--dataset", "cats")
TOKEN = ("manage.py", "create_token", "test")
MIGRATE = ("manage.py", "migrate", "--verbosity", "0")
DEMO = ("-m", "progress_site.demo")


def refusal(
    data_dir: Path, values: dict[str, str], arguments: tuple[str, ...], python: tuple[str, ...] = (sys.executable,)
) -> str:
    """Return the one line that a program prints instead of working."""
    env = {**os.environ, "DATABASE_URL": "", "DATA_DIR": str(data_dir), "PORT": str(free_port()), **values}
    result = subprocess.run(
        [*python, *arguments], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (USAGE, ""), result.stderr
    [line] = result.stderr.strip().splitlines()
    assert "secret" not in line
    return line


def name(arguments: object) -> str:
    return " ".join(arguments[:2]) if isinstance(arguments, tuple) else ""


@pytest.mark.parametrize("arguments", [WEB, UVICORN_WEB, MIGRATE, DEMO], ids=name)
def test_a_database_that_cannot_be_reached(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    line = refusal(tmp_path, NO_DATABASE, arguments)
    assert line.startswith("The database cannot be used: ")
    assert "127.0.0.1" in line


@pytest.mark.parametrize("arguments", [WEB, WORKER, TOKEN], ids=name)
def test_tables_that_are_missing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "manage.py migrate" in refusal(tmp_path, {}, arguments)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    env = {**os.environ, "DATABASE_URL": "", "DATA_DIR": str(data_dir)}
    subprocess.run([sys.executable, *MIGRATE], env=env, cwd=ROOT, check=True)
    return data_dir


@pytest.mark.parametrize("arguments", [WEB, PROCESS, DEMO], ids=name)
def test_a_redis_that_cannot_be_reached(migrated: Path, arguments: tuple[str, ...]) -> None:
    assert refusal(migrated, NO_REDIS, arguments).startswith("The Redis server of REDIS_URL cannot be used: ")


def test_a_database_on_which_a_migration_is_left(migrated: Path) -> None:
    with sqlite3.connect(migrated / "progress.sqlite3") as database:
        database.execute("DELETE FROM django_migrations WHERE app = 'accounts'")
    assert "manage.py migrate" in refusal(migrated, {}, WORKER)
    with sqlite3.connect(migrated / "progress.sqlite3") as database:
        database.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0001_initial', '')")


@pytest.mark.parametrize("arguments", [WORKER, DEMO], ids=name)
def test_a_data_folder_that_cannot_be_written_to(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    # Root may write anywhere, unless it gives up that right.
    setpriv = find_program("setpriv", package="util-linux") if os.geteuid() == 0 else ""
    weaker = (setpriv, "--bounding-set", "-dac_override", sys.executable) if setpriv else (sys.executable,)
    tmp_path.chmod(0o555)
    line = refusal(tmp_path, {"SECRET_KEY_FILE": "/no/such/file"}, arguments, weaker)
    tmp_path.chmod(0o755)
    assert line == f"The data folder DATA_DIR={tmp_path} cannot be written to."
