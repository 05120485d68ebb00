"""Datasets to search. Only PostgreSQL has the index, so its tests are collected there (`tests/test_postgresql.py`)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.datasets.search import find

collect_ignore = [] if connection.vendor == "postgresql" else ["test_search_index.py"]


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
