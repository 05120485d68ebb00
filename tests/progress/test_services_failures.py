"""Items that could not be processed, recorded by the verb of the pipeline."""

from __future__ import annotations

from apps.core import text as texts
from apps.progress import services
from apps.progress.models import ItemFailure, Run

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
