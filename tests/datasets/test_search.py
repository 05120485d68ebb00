"""Search for a part of a text in names and IDs: what is found, how much is looked through, and what is said of it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from apps.datasets import search
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.datasets.search import find

from .conftest import found


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
    assert find(Dataset.objects.all(), text)[1:] == (False, None)


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
    assert find(Dataset.objects.all(), "cats").searched == 3
    assert found("old") == ["old-cats"], "a whole name is found in all"
    assert found("old-cats") == ["old-cats"], "and a whole ID"
    monkeypatch.setattr(search, "SEARCHED", 4)
    assert found("cats") == ["cats-2026", "old-cats"]
    assert find(Dataset.objects.all(), "cats").searched is None


def test_of_those_that_changed_at_one_moment_the_newest_are_looked_through(
    datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCHED", 3)
    monkeypatch.setattr(search, "_INDEX", "missing")
    Dataset.objects.update(changed_at=timezone.now())
    assert found("s") == ["old-cats", "birds", "dogs"]
    assert find(Dataset.objects.all(), "s").searched == 3


def test_more_of_one_name_than_are_found_is_told(datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCHED", 1)
    monkeypatch.setattr(search, "MOST_FOUND", 2)
    monkeypatch.setattr(search, "_INDEX", "missing")
    Dataset.objects.filter(dataset_id="dogs").update(name="OLD")
    assert found("old") == ["dogs", "old-cats"]
    assert not find(Dataset.objects.all(), "old").has_more
    Dataset.objects.filter(dataset_id="birds").update(name="old")
    assert found("old") == ["dogs", "birds"]
    assert find(Dataset.objects.all(), "old").has_more


def test_member_of_few_searches_all_of_those(datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCHED", 3)
    monkeypatch.setattr(search, "_INDEX", "missing")
    Dataset.objects.bulk_create(Dataset(dataset_id=f"other-cats-{number}") for number in range(36))
    member = User.objects.create_user("member")
    for dataset in (datasets[1], datasets[3]):
        dataset.members.add(member)
    assert find(Caller(member).visible(), "cats") == ([datasets[3].pk], False, None)
    assert find(Dataset.objects.all(), "cats").searched == 3


@pytest.mark.parametrize(("text", "searched"), [("\\", 4), ("---", 4), ("a_b", 4), ("ab-", 4), ("abc", None)])
def test_text_without_three_letters_or_digits_in_a_row_is_looked_for_without_the_index(
    datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch, text: str, searched: int | None
) -> None:
    monkeypatch.setattr(search, "SEARCHED", 4)
    Dataset.objects.create(dataset_id="ab---abc", name="a_b\\c")
    assert found(text) == ["ab---abc"]
    if connection.vendor == "postgresql":
        assert find(Dataset.objects.all(), text).searched == searched
