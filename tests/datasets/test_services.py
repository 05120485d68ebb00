"""The writes of datasets and tokens."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError

from apps.datasets.access.errors import UnknownDataset
from apps.datasets.access.identities import revoked_datasets, visible_pks
from apps.datasets.access.lookup import find_writable, get_or_create_writable, get_visible
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, Token
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


def test_deleted_dataset_is_gone_at_once_in_one_query(django_assert_num_queries: Any) -> None:
    dataset = create_dataset("cats", visibility="public")
    caller = Caller(None, Token(datasets="*"))
    with django_assert_num_queries(1):
        delete_dataset(dataset)
    for someone in (caller, Caller(AnonymousUser())):
        with pytest.raises(UnknownDataset):
            get_visible(someone, "cats")
    assert find_writable(caller, ["cats"])[1] == {"cats"}  # it may be created
    assert visible_pks("", ["cats"]) == {}
    assert revoked_datasets({"": {dataset.pk}}) == {"": {dataset.pk}}
    again = get_or_create_writable(caller, "cats")
    assert again.pk != dataset.pk
    deleted_at = Dataset.with_deleted.get(pk=dataset.pk).deleted_at
    delete_dataset(dataset)
    assert Dataset.with_deleted.get(pk=dataset.pk).deleted_at == deleted_at
    assert Dataset.objects.get() == again


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
