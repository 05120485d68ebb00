"""Migrations keep the version before alive: its processes go on while a later one is installed."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from django.apps import apps
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from tests.images import make_images
from tests.pipeline.runs import process
from tests.processes import collect_static, environment, web_server
from tests.repository import ROOT
from tests.services import run_quietly

OURS = [config.label for config in apps.get_app_configs() if config.name.startswith("apps.")]
# With these, an older version can go on reading and writing. Data may be changed by `RunPython` in batches.
HARMLESS = (
    migrations.CreateModel, migrations.AddIndex, migrations.RemoveIndex, migrations.AlterModelOptions,
    migrations.RemoveConstraint, migrations.RunPython,
)  # fmt: skip


def is_harmless(operation: Operation) -> bool:
    """Whether an older version can go on: it names no column that is gone, and gives none that it does not know."""
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        return all(map(is_harmless, operation.database_operations))
    if isinstance(operation, migrations.AddField):
        return operation.field.null or operation.field.has_db_default()
    return isinstance(operation, HARMLESS)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (migrations.AddField("run", "note", models.TextField(default="")), False),
        (migrations.AddField("run", "note", models.TextField(default="", db_default="")), True),
        (migrations.AddField("run", "note", models.TextField(null=True)), True),
        (migrations.RemoveField("run", "note"), False),
        (migrations.RenameField("run", "note", "notes"), False),
        (migrations.DeleteModel("run"), False),
    ],
)
def test_what_is_harmless(operation: Operation, expected: bool) -> None:
    assert is_harmless(operation) == expected


def test_later_migrations_only_add() -> None:
    later = [
        migration
        for (label, name), migration in MigrationLoader(None).disk_migrations.items()
        if label in OURS and not name.startswith("0001_")
    ]
    assert [str(migration) for migration in later if not all(map(is_harmless, migration.operations))] == []


@contextmanager
def later_columns() -> Iterator[None]:
    """A column more in each table of ours, as a later version's migration adds it."""
    tables = [model._meta.db_table for label in OURS for model in apps.get_app_config(label).get_models()]
    assert len(tables) > 10
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN later integer DEFAULT 0 NOT NULL")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} DROP COLUMN later")


def test_running_processes_go_on_after_a_later_migration(transactional_db: None, tmp_path: Path) -> None:
    collect_static()
    make_images(tmp_path / "images", 3)
    Dataset.objects.create(dataset_id="dogs", visibility="public")
    headers = {"Authorization": f"Bearer {issue_token('t')[1]}"}
    with (
        web_server(tmp_path / "log") as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=30) as client,
    ):

        def use(dataset_id: str) -> None:
            report = {
                "state": "indexing",
                "current": 1,
                "total": 2,
                "worker": "w",
                "failures": [{"item": "a", "reason": "b"}],
            }
            address = f"/api/datasets/{dataset_id}/progress"
            assert client.post(address, json=report).json()["progress"]["current"] == 1
            assert client.post(address, json={"state": "ready"}).json()["progress"]["state"] == "ready"
            for path in ("/", f"/datasets/{dataset_id}/", f"/datasets/{dataset_id}/runs/1/", address, "/api/datasets"):
                assert client.get(path).status_code == 200, path

        use("dogs")
        with later_columns():
            use("birds")
            assert process(tmp_path / "images")[1].name == "READY"
            assert client.delete("/api/datasets/birds").status_code in (200, 204)


def test_a_later_migration_can_be_taken_back(tmp_path: Path) -> None:
    """Whatever it has made is gone, and datasets can be written as before."""
    database = tmp_path / "site.sqlite3"
    env = environment({"DATABASE_URL": f"sqlite:///{database}"})
    for target in ([], ["datasets", "0001"]):
        run_quietly([sys.executable, "manage.py", "migrate", "--verbosity", "0", *target], env=env, cwd=ROOT)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall() == []
        connection.execute(
            "INSERT INTO datasets_dataset (dataset_id, name, visibility, created_at)"
            " VALUES ('a', '', 'public', '2026-11-30')"
        )
        connection.commit()
    run_quietly([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env=env, cwd=ROOT)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT SUM(count) FROM datasets_statecount").fetchall() == [(1,)]
