"""The writes of datasets and tokens."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.datasets.models import Dataset, EmbeddingBlock, Token
from apps.datasets.services import (
    create_dataset,
    delete_dataset,
    discard_datasets,
    issue_token,
    rename_dataset,
    revoke_tokens,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("public", [True, False])
def test_a_new_dataset_has_the_visibility_of_the_setting(settings: Any, public: bool) -> None:
    settings.DATASETS_PUBLIC = public
    assert create_dataset("cats").visibility == ("public" if public else "private")
    assert create_dataset("dogs", visibility="private").visibility == "private"


@pytest.mark.parametrize("dataset_id", ["a/b", "", "cats"])
def test_an_id_that_is_malformed_or_taken_is_refused(dataset_id: str) -> None:
    create_dataset("cats")
    with pytest.raises(ValidationError):
        create_dataset(dataset_id)
    assert Dataset.objects.count() == 1


def test_a_name_that_is_too_long_is_refused() -> None:
    dataset = create_dataset("cats", name="Cats")
    rename_dataset(dataset, "All cats")
    with pytest.raises(ValidationError):
        rename_dataset(dataset, "x" * 201)
    assert Dataset.objects.get().name == "All cats"


def test_deleting_a_dataset_loads_none_of_its_vectors() -> None:
    dataset = create_dataset("cats")
    EmbeddingBlock.objects.create(dataset=dataset, embedder="e", dimensions=1, sample_ids=b"", vectors=b"")
    with CaptureQueriesContext(connection) as queries:
        delete_dataset(dataset)
    assert not EmbeddingBlock.objects.exists()
    assert not [query for query in queries.captured_queries if '"vectors"' in query["sql"]]


def test_only_the_datasets_that_are_named_are_discarded(django_assert_num_queries: Any) -> None:
    for dataset_id in ("a", "b", "c"):
        create_dataset(dataset_id)
    with django_assert_num_queries(0):
        discard_datasets([])
    discard_datasets(["a", "c"])
    assert Dataset.objects.get().dataset_id == "b"


def test_a_token_is_revoked_once() -> None:
    first, _ = issue_token("first")
    issue_token("second")
    assert revoke_tokens(Token.objects.filter(pk=first.pk)) == 1
    revoked_at = Token.objects.get(pk=first.pk).revoked_at
    assert revoke_tokens(Token.objects.all()) == 1
    assert Token.objects.get(pk=first.pk).revoked_at == revoked_at
