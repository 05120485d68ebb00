"""The index of trigrams that searches use on PostgreSQL: what it finds, and when it is created."""

from __future__ import annotations

from secrets import token_hex

import pytest
from django.core.management import call_command
from django.db import connection

from apps.datasets import search
from apps.datasets.models import Dataset
from apps.datasets.search import create_index, find
from tests.pages.test_plans import recorded

from .conftest import found


def test_index_finds_parts_in_any_number(datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCHED", 2)
    assert found("cats") == ["cats-2026", "old-cats"]
    assert find(Dataset.objects.all(), "cats").searched is None
    Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}", name=f"Set {number}") for number in range(5_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        with recorded() as statements:
            find(Dataset.objects.all(), "cats")
        sql, params = statements[-1]
        cursor.execute(f"EXPLAIN {sql}", params)
        assert "dataset_by_parts" in str(cursor.fetchall())


def test_index_that_is_there_is_not_created_again(db: None) -> None:
    with recorded() as statements:
        create_index()
    assert not [sql for sql, _ in statements if "CREATE" in sql]


def test_database_without_the_table_gets_no_index(
    db: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_INDEX", "missing")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE datasets_dataset RENAME TO other")
    create_index()
    assert not caplog.records


def test_role_that_may_not_create_the_extension_goes_without(
    datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(search, "SEARCHED", 3)
    role = f"reader_{token_hex(4)}"  # roles belong to the server, where another test may run
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION pg_trgm CASCADE")
        cursor.execute(f"CREATE ROLE {role}")
        cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        cursor.execute(f"SET LOCAL ROLE {role}")
    create_index()
    assert "The search index could not be created, so searches look through 3 datasets only: permission" in caplog.text
    assert found("cats") == ["cats-2026"]
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # or no index is created in this transaction
    call_command("restored")
    assert found("cats") == ["cats-2026", "old-cats"], "the next call finds the extension"
