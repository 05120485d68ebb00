"""Fixtures for all tests. What has to be set before Django's settings are read is in `environment`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from hypothesis import settings as hypothesis

from . import services

# A machine that is busy with something else makes no property false.
hypothesis.register_profile("tests", parent=hypothesis(), deadline=None)
hypothesis.load_profile("tests")

# Names as they are in the sources: hashed ones would need collectstatic before each run of the tests.
settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """A database in a file, as in production: one in memory knows neither WAL nor a second process."""
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(Path(settings.DATA_DIR, "test.sqlite3"))


@pytest.fixture(scope="session")
def client_wheel() -> Path:
    """The client as this server offers it."""
    call_command("build_client", verbosity=0)
    [wheel] = Path(settings.CLIENT_DIST).iterdir()
    return wheel


@pytest.fixture(scope="session")
def postgresql() -> Iterator[services.PostgreSQL]:
    """A real PostgreSQL server, one for all tests that ask for it."""
    with services.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[services.Redis]:
    """A real Redis server, one for all tests that ask for it."""
    with services.redis() as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
