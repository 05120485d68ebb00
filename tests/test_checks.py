"""Misconfiguration is told by name before anything is done with it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connection
from pytest_django import Settings

from tests.processes import ROOT

pytestmark = pytest.mark.django_db


def test_settings_of_the_tests_are_all_right() -> None:
    assert run_checks() == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("EMBEDDER", "apps.nothing.Here", "pipeline.E001"),
        ("IMPORT_ROOTS", ["pictures"], "pipeline.E002"),
        ("IMPORT_ROOTS", ["/no/such/folder"], "pipeline.W001"),
        ("LEASE_SECONDS", 0.0, "pipeline.E003"),
        ("PIPELINE_PROCESSES", -1, "pipeline.E004"),
        ("MAX_IMAGE_PIXELS", 0, "pipeline.E005"),
        ("DATA_DIR", Path("/no/such/folder"), "pipeline.E006"),
        ("ALLOWED_ORIGINS", ["https://app.example/path"], "live.E001"),
        ("ALLOWED_ORIGINS", ["app.example"], "live.E001"),
        ("SOCKETS_PER_ADDRESS", -1, "live.E002"),
        ("BAR_POLL_SECONDS", 0.0, "pages.E001"),
        ("TOKEN_REQUESTS_A_SECOND", -1, "api.E001"),
    ],
)
def test_misconfiguration_is_told(settings: Settings, name: str, value: object, told: str) -> None:
    setattr(settings, name, value)
    assert [complaint.id for complaint in run_checks()] == [told]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/no/such/file"}, "Set SECRET_KEY"),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS"),
        ({"DEBUG": "perhaps"}, "DEBUG"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"TIME_ZONE": "Mars/Olympus"}, "Mars/Olympus"),
        ({"DATA_DIR": "/dev/null/data"}, "The data folder DATA_DIR=/dev/null/data cannot be made"),
    ],
)
def test_garbage_is_refused(values: dict[str, str], told: str) -> None:
    command = [sys.executable, "manage.py", "check"]
    result = subprocess.run(command, env={**os.environ, **values}, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert told in result.stderr


def test_nothing_but_a_key_is_needed(tmp_path: Path) -> None:
    data_dir = tmp_path / "not there # ? %41" / "yet"
    env = {"PATH": os.environ["PATH"], "SECRET_KEY": secrets.token_urlsafe(64), "DATA_DIR": str(data_dir)}
    for command in ("check", "migrate"):
        subprocess.run([sys.executable, "manage.py", command], env=env, cwd=ROOT, check=True, capture_output=True)
    assert (data_dir / "progress.sqlite3").is_file()


def test_on_sqlite_readers_go_on_while_one_writes() -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            assert cursor.fetchone() == ("wal",)
