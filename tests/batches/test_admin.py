"""Batches in the admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.batches.models import Batch
from apps.datasets.models import Dataset

from .conftest import batch_of

pytestmark = pytest.mark.django_db


def test_the_question_before_a_deletion_costs_the_same_for_any_number_of_datasets(
    make: Callable[..., Dataset],
) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    counts = []
    for number, datasets in enumerate((1, 20)):
        members = [make(f"d{number}-{name}") for name in range(datasets)]
        batch = batch_of(*members, batch_id=f"b{number}")
        client.get(f"/admin/batches/batch/{batch.pk}/change/")
        with CaptureQueriesContext(connection) as queries:
            asked = client.get(f"/admin/batches/batch/{batch.pk}/delete/")
        assert batch.batch_id in asked.text
        counts.append(len(queries))
    assert counts[0] == counts[1]
    client.post(f"/admin/batches/batch/{batch.pk}/delete/", {"post": "yes"})
    assert not Batch.objects.filter(pk=batch.pk).exists()
    assert Dataset.objects.count() == 21
