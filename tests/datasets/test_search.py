"""Search for a part of a text in names and IDs: what is found, how much is looked through, and what is said of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.datasets import search
from apps.datasets.models import Dataset
from apps.datasets.search import create_index, find

on_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL alone has the index")


@pytest.fixture
def datasets(db: None) -> list[Dataset]:
    """Four datasets, the latest first."""
    now = timezone.now()
    names = {"cats-2026": "Cats", "dogs": "Photos of 100% dogs", "birds": "", "old-cats": "Old"}
    return [
        Dataset.objects.create(dataset_id=dataset_id, name=name, changed_at=now - timedelta(days=age))
        for age, (dataset_id, name) in enumerate(names.items())
    ]


def found(text: str) -> list[str]:
    return [Dataset.objects.get(pk=pk).dataset_id for pk in find(Dataset.objects.all(), text).dataset_pks]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("CATS", ["cats-2026", "old-cats"]),
        ("photos OF", ["dogs"]),
        ("ird", ["birds"]),
        ("0%", ["dogs"]),
        ("a_s", []),
        ("t", ["cats-2026", "dogs", "old-cats"]),
    ],
)
def test_parts_of_ids_and_names_are_found_the_latest_first(datasets: list[Dataset], text: str, ids: list[str]) -> None:
    assert found(text) == ids
    assert find(Dataset.objects.all(), text)[1:] == (False, True)


def test_more_than_are_found_is_told(datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_FOUND", 2)
    assert not find(Dataset.objects.all(), "cats").has_more
    assert found("t") == ["cats-2026", "dogs"]
    assert find(Dataset.objects.all(), "t").has_more


def test_only_some_are_looked_through_without_an_index(
    datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCHED", 3)
    monkeypatch.setattr(search, "_INDEX", "missing")
    assert found("cats") == ["cats-2026"]
    assert not find(Dataset.objects.all(), "cats").searched_all
    assert found("old") == ["old-cats"], "a whole name is found in all"
    assert found("old-cats") == ["old-cats"], "and a whole ID"
    monkeypatch.setattr(search, "SEARCHED", 4)
    assert found("cats") == ["cats-2026", "old-cats"]
    assert find(Dataset.objects.all(), "cats").searched_all


def test_of_those_that_changed_at_one_moment_the_newest_are_looked_through(
    datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCHED", 3)
    monkeypatch.setattr(search, "_INDEX", "missing")
    Dataset.objects.update(changed_at=timezone.now())
    assert found("s") == ["old-cats", "birds", "dogs"]
    assert not find(Dataset.objects.all(), "s").searched_all


@on_postgresql
def test_index_finds_parts_in_any_number(datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCHED", 2)
    assert found("cats") == ["cats-2026", "old-cats"]
    assert find(Dataset.objects.all(), "cats").searched_all
    assert not find(Dataset.objects.all(), "ca").searched_all, "it has no trigram"
    Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}", name=f"Set {number}") for number in range(3_000))
    with connection.cursor() as cursor:
        cursor.execute("SELECT gin_clean_pending_list('dataset_by_parts')")  # as autovacuum does
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")  # faster for so few
    parts = Dataset.objects.filter(dataset_id__icontains="cats") | Dataset.objects.filter(name__icontains="cats")
    assert "dataset_by_parts" in parts.explain()


@on_postgresql
def test_role_that_may_not_create_the_extension_goes_without(
    datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(search, "SEARCHED", 3)
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION pg_trgm CASCADE")
        cursor.execute("CREATE ROLE reader")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        cursor.execute("SET LOCAL ROLE reader")
    create_index(None, "default")
    assert "pg_trgm" in caplog.text
    assert found("cats") == ["cats-2026"]
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # or no index is created in this transaction
    create_index(None, "default")
    assert found("cats") == ["cats-2026", "old-cats"], "the next migration finds the extension"
