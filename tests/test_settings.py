"""Settings: wrong values are refused by name, in one line, before anything is done with them."""

from __future__ import annotations

import ast
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connection
from pytest_django import Settings

from progress_site.settings import env
from progress_site.startup import USAGE
from scripts.settings_table import SOURCE, read_settings
from tests.environment import variables
from tests.processes import DAPHNE, UVICORN
from tests.repository import ROOT
from tests.services import free_port

pytestmark = pytest.mark.django_db
MANAGE = ("manage.py", "check")


def refusal(values: dict[str, str], *arguments: str) -> str:
    """Return the one line that a program prints when it does not start with these settings."""
    command = [sys.executable, *arguments]
    result = subprocess.run(command, env={**os.environ, **values}, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == USAGE, result.stderr
    [line] = result.stderr.strip().splitlines()
    return line


def test_settings_of_the_tests_are_all_right() -> None:
    assert run_checks() == []


def test_settings_are_read_with_env_alone() -> None:
    names = {one.name for one in read_settings()}
    assert names == set(env.dump())
    assert "environ." not in SOURCE.read_text().replace("environs", "")


def test_tests_do_not_inherit_settings_from_the_shell() -> None:
    set_for_tests = {"DATA_DIR", "SECRET_KEY", "DATABASE_URL", "DJANGO_SETTINGS_MODULE"}
    assert {one.name for one in read_settings()} | {"PORT", "DATASET_PROGRESS_URL"} <= variables()
    assert (variables() - set_for_tests) & set(os.environ) == set()


def test_a_number_has_a_bound() -> None:
    numbers = [
        node
        for node in ast.walk(ast.parse(SOURCE.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("env.int", "env.float")
    ]
    assert numbers
    unbound = [ast.unparse(node.args[0]) for node in numbers if "validate" not in {one.arg for one in node.keywords}]
    assert unbound == [], "add validate=bounds.Range(…)"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("EMBEDDER", "apps.nothing.Here", "pipeline.E001"),
        ("IMPORT_ROOTS", ["/no/such/folder"], "pipeline.W001"),
        ("DATA_DIR", Path("/no/such/folder"), "pipeline.E006"),
    ],
)
def test_what_is_wrong_with_this_machine_is_told_by_a_check(
    settings: Settings, name: str, value: object, told: str
) -> None:
    setattr(settings, name, value)
    assert [complaint.id for complaint in run_checks()] == [told]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/no/such/file"}, "Set SECRET_KEY"),
        ({"DATA_DIR": "/dev/null/data"}, "The data folder DATA_DIR=/dev/null/data cannot be made"),
        ({"DEBUG": "perhaps"}, "DEBUG"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"TIME_ZONE": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"DATABASE_URL": "mars"}, "DATABASE_URL"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://cache:port/0"}, "It is no address of a Redis server"),
        ({"DATABASE_URL": "postgres://user:secret@host:port/name"}, "DATABASE_URL"),
        ({"IMPORT_ROOTS": "pictures"}, "'pictures' is no absolute path"),
        ({"ALLOWED_ORIGINS": "https://app.example/path"}, "'https://app.example/path' is no origin"),
        ({"ALLOWED_ORIGINS": "https://app.example,app.example"}, "'app.example' is no origin"),
        ({"HSTS_SECONDS": "-1"}, "HSTS_SECONDS"),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS"),
        ({"LEASE_SECONDS": "0"}, "LEASE_SECONDS"),
        ({"PIPELINE_PROCESSES": "-1"}, "PIPELINE_PROCESSES"),
        ({"MAX_IMAGE_PIXELS": "0"}, "MAX_IMAGE_PIXELS"),
        ({"SOCKETS_PER_ADDRESS": "-1"}, "SOCKETS_PER_ADDRESS"),
        ({"BAR_POLL_SECONDS": "0"}, "BAR_POLL_SECONDS"),
        ({"TOKEN_REQUESTS_A_SECOND": "-1"}, "TOKEN_REQUESTS_A_SECOND"),
    ],
)
def test_garbage_is_refused(values: dict[str, str], told: str) -> None:
    assert told in refusal(values, *MANAGE)


@pytest.mark.parametrize("server", [DAPHNE, UVICORN])
def test_a_server_refuses_garbage(server: tuple[str, ...]) -> None:
    line = refusal({"LEASE_SECONDS": "0"}, *server, str(free_port()), "progress_site.asgi:application")
    assert "LEASE_SECONDS" in line


def test_the_data_folder_is_its_owners_alone(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir(mode=0o700)
    (settings.DATA_DIR / "database").touch(mode=0o600)
    assert run_checks() == []
    (settings.DATA_DIR / "database").chmod(0o640)
    assert [complaint.id for complaint in run_checks()] == ["pipeline.W003"]
    (settings.DATA_DIR / "database").chmod(0o600)
    settings.DATA_DIR.chmod(0o711)
    assert [complaint.id for complaint in run_checks()] == ["pipeline.W003"]


@pytest.mark.parametrize("root", ["", "media"])
def test_nothing_is_imported_from_the_data_folder(settings: Settings, root: str) -> None:
    Path(settings.DATA_DIR, "media").mkdir(exist_ok=True)
    settings.IMPORT_ROOTS = [str(Path(settings.DATA_DIR, root))]
    assert [complaint.id for complaint in run_checks()] == ["pipeline.W002"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, ["datasets.W001"]),
        ({"SIGN_IN_REQUIRED": True}, []),
        ({"DATASETS_PUBLIC": False}, []),
    ],
)
def test_a_deployment_that_shows_everything_is_warned_of(
    settings: Settings, values: dict[str, bool], told: list[str]
) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    found = [complaint.id for complaint in run_checks(include_deployment_checks=True)]
    assert [one for one in found if str(one).startswith("datasets")] == told


def test_browsers_are_shipped_with_this_host_only_where_that_is_asked_for() -> None:
    command = "from progress_site import settings; print(settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_PRELOAD)"
    printed = [
        subprocess.run(
            [sys.executable, "-c", command], env={**os.environ, "HTTPS": "1", **values}, cwd=ROOT, check=True,
            capture_output=True, text=True,
        ).stdout
        for values in ({}, {"HSTS_PRELOAD": "1"})
    ]  # fmt: skip
    assert printed == ["3600 False\n", "3600 True\n"]


def test_nothing_but_a_key_is_needed(tmp_path: Path) -> None:
    data_dir = tmp_path / "not there # ? %41" / "yet"
    env = {"PATH": os.environ["PATH"], "SECRET_KEY": secrets.token_urlsafe(64), "DATA_DIR": str(data_dir)}
    for command in ("check", "migrate"):
        subprocess.run([sys.executable, "manage.py", command], env=env, cwd=ROOT, check=True, capture_output=True)
    assert (data_dir / "progress.sqlite3").is_file()
    modes = {path: path.stat().st_mode & 0o777 for path in (data_dir, *data_dir.rglob("*"))}
    assert {oct(mode) for path, mode in modes.items() if path.is_dir()} == {"0o700"}
    assert {oct(mode) for path, mode in modes.items() if path.is_file()} == {"0o600"}


def test_on_sqlite_readers_go_on_while_one_writes() -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            assert cursor.fetchone() == ("wal",)


def test_connections_to_sqlite_do_not_fill_the_memory_of_the_process_with_the_database() -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA mmap_size")
            assert cursor.fetchone() == (0,)
