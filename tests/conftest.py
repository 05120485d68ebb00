"""Fixtures for all tests. `environment` sets what Django's settings read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from hypothesis import settings as hypothesis

from . import services

# No deadline: a busy machine makes no property false.
hypothesis.register_profile("tests", parent=hypothesis(), deadline=None)
hypothesis.load_profile("tests")

# Static files under their own names: hashed names would need `collectstatic` before each run.
settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# All tests of this process have one address.
settings.READS_PER_ADDRESS = 0
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Use a database file, as in production: a database in memory has no WAL and no second process."""
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(Path(settings.DATA_DIR, "test.sqlite3"))


@pytest.fixture(autouse=True)
def nobody_has_listened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test know what another one read of when a server was there."""
    from apps.progress import listening

    monkeypatch.setattr(listening, "_last", None)


@pytest.fixture(scope="session")
def client_wheel() -> Path:
    """The client as this server offers it."""
    call_command("build_client", verbosity=0)
    [wheel] = Path(settings.CLIENT_DIST).iterdir()
    return wheel


@pytest.fixture(scope="session")
def postgresql() -> Iterator[services.PostgreSQL]:
    """Return a PostgreSQL server that all tests share."""
    with services.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[services.Redis]:
    """Return a Redis server that all tests share."""
    with services.redis() as server:
        yield server


# The fixtures that start a server or a browser.
PROGRAMS = {"browser", "postgresql", "redis", "server"}


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, and mark as slow what `make quick` leaves out."""
    for item in items:
        starts_program = PROGRAMS & set(getattr(item, "fixturenames", ())) or "e2e" in item.path.parts
        if starts_program or item.get_closest_marker("long"):
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are processors, at most four: many tests wait for processes of their own."""
    return min((os.cpu_count() or 1) + 1, 4)
