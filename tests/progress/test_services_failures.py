"""Items that could not be processed, recorded by the verb of the pipeline."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from apps.core import text as texts
from apps.progress import services, store
from apps.progress.models import ItemFailure, Run, UnlistedFailures

from .helpers import VersionOf, seen


def test_record_failures_lists_and_counts_them(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated"), ("b.jpg", "not an image")])
    assert seen(indexing).failed == 2
    assert version_of(indexing) == before + 1
    assert seen(indexing).state == "indexing"
    listed = ItemFailure.objects.filter(run=indexing).values_list("stage", "item", "reason")
    assert list(listed) == [("index", "a.jpg", "truncated"), ("index", "b.jpg", "not an image")]


def test_record_failures_again_lists_and_counts_nothing_twice(indexing: Run, version_of: VersionOf) -> None:
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    before = version_of(indexing)
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    assert (seen(indexing).failed, version_of(indexing)) == (1, before)
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated"), ("b.jpg", "empty"), ("b.jpg", "empty")])
    assert (seen(indexing).failed, ItemFailure.objects.count()) == (2, 2)


def test_record_failures_of_one_item_in_two_stages_are_two(indexing: Run) -> None:
    services.record_failures(indexing.pk, "index", [("a.jpg", "truncated")])
    services.record_failures(indexing.pk, "embed", [("a.jpg", "no vector")])
    assert seen(indexing).failed == 2


def test_record_failures_of_very_long_names_keeps_their_ends(indexing: Run) -> None:
    names = [f"{'深い' * 2000}/{number}.jpg" for number in (1, 2)]
    for _ in range(2):
        services.record_failures(indexing.pk, "index", [(name, "x" * 5000) for name in names])
    items = ItemFailure.objects.values_list("item", flat=True)
    assert [(item[0], item[-6:]) for item in items] == [("…", "/1.jpg"), ("…", "/2.jpg")]
    assert all(len(item.encode()) <= texts.ITEM_BYTES for item in items)
    assert seen(indexing).failed == 2


def test_record_failures_of_nothing_is_a_sign_of_life(indexing: Run, version_of: VersionOf) -> None:
    before = version_of(indexing)
    services.record_failures(indexing.pk, "index", [])
    assert version_of(indexing) == before


def _unlisted(run: Run) -> dict[str, int]:
    return dict(UnlistedFailures.objects.filter(run=run).values_list("reason", "count"))


def test_record_failures_beyond_the_most_are_counted_by_reason(indexing: Run, settings: Settings) -> None:
    settings.MOST_FAILURES = 3
    services.record_failures(indexing.pk, "index", [("a", "truncated"), ("b", "truncated")])
    services.record_failures(indexing.pk, "index", [(item, "truncated") for item in "bcdef"] + [("g", "empty")])
    services.record_failures(indexing.pk, "index", [("h", "empty")])
    assert seen(indexing).failed == 8
    assert list(ItemFailure.objects.values_list("item", flat=True)) == ["a", "b", "c"]
    assert _unlisted(indexing) == {"truncated": 3, "empty": 2}


def test_record_failures_for_ever_new_reasons_are_few_rows(
    indexing: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MOST_FAILURES = 1
    monkeypatch.setattr(store, "MAX_REASONS", 2)
    for _ in range(2):
        services.record_failures(indexing.pk, "index", [(str(number), f"reason {number}") for number in range(6)])
    # The first is listed, and known when it comes again.
    assert _unlisted(indexing) == {"reason 1": 2, "reason 2": 2, "other reasons": 6}
    assert seen(indexing).failed == 11


def test_failures_of_a_stage_that_starts_over_are_taken_back(indexing: Run, settings: Settings) -> None:
    settings.MOST_FAILURES = 2
    failures = [(item, "truncated") for item in "abcd"]
    services.record_failures(indexing.pk, "embed", [("z", "no vector")])
    services.record_failures(indexing.pk, "index", failures)
    services.take_back_failures(indexing.pk, "index")
    assert (seen(indexing).failed, _unlisted(indexing)) == (1, {})
    services.record_failures(indexing.pk, "index", failures)
    assert (seen(indexing).failed, _unlisted(indexing)) == (5, {"truncated": 3})
    assert list(ItemFailure.objects.values_list("item", flat=True)) == ["z", "a"]
