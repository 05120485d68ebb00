"""Rows that are written without the ORM's compiler."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core.sql import put_rows
from apps.datasets.models import Dataset, EmbeddingBlock, Sample

pytestmark = pytest.mark.django_db


def _sample(dataset: Dataset, path: str, **values: object) -> Sample:
    plain = {
        "size": 1, "mtime_ns": 2**62, "sha256": "0" * 64, "format": "JPEG", "width": 3, "height": 4,
        "thumbnail_width": 5, "thumbnail_height": 6, "seen_in_run": 1, "embedding_block": None,
    }  # fmt: skip
    return Sample(dataset=dataset, path=path, **(plain | values))


def _put(*samples: Sample) -> None:
    put_rows(samples, unique=("dataset", "path"))


def test_new_rows_are_there_with_all_their_values() -> None:
    dataset = Dataset.objects.create(dataset_id="cats")
    block = EmbeddingBlock.objects.create(dataset=dataset, embedder="e", dimensions=1, sample_ids=b"", vectors=b"")
    sample = _sample(dataset, "a’b.jpg", embedding_block=block)
    _put(sample, _sample(dataset, "b.jpg"))

    kept = Sample.objects.get(path="a’b.jpg")
    names = [field.attname for field in Sample._meta.concrete_fields if not field.primary_key]
    assert [getattr(kept, name) for name in names] == [getattr(sample, name) for name in names]
    assert Sample.objects.get(path="b.jpg").embedding_block is None


def test_a_row_that_is_there_keeps_its_id_and_takes_the_other_values() -> None:
    dataset, other = Dataset.objects.create(dataset_id="cats"), Dataset.objects.create(dataset_id="dogs")
    _put(_sample(dataset, "a.jpg"), _sample(other, "a.jpg"))
    before = Sample.objects.get(dataset=dataset)
    _put(_sample(dataset, "a.jpg", sha256="1" * 64, seen_in_run=2))

    after = Sample.objects.get(dataset=dataset)
    assert (after.pk, after.sha256, after.seen_in_run) == (before.pk, "1" * 64, 2)
    assert Sample.objects.get(dataset=other).seen_in_run == 1


def test_a_constraint_refuses_them_all() -> None:
    dataset = Dataset.objects.create(dataset_id="cats")
    with pytest.raises(IntegrityError), transaction.atomic():
        _put(_sample(dataset, "a.jpg"), _sample(dataset, "b.jpg", width=-1))
    assert not Sample.objects.exists()


def test_nothing_to_write_asks_the_database_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        put_rows([], unique=("dataset", "path"))
