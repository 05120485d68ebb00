"""The ids that a dataset may have, and what the database refuses."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.datasets.models import Dataset, EmbeddingBlock, ReservedPrefix, Sample


@pytest.mark.parametrize("dataset_id", ["a", "7", "cats", "Cats-2.0_final", "0.", "a" * 128, "a..b", "x-"])
def test_a_good_id(db: None, dataset_id: str) -> None:
    Dataset(dataset_id=dataset_id).full_clean()


@pytest.mark.parametrize(
    "dataset_id",
    [
        "", ".", "..", ".hidden", "-x", "_x", "a b", "a/b", "a\\b", "a%2Fb", "a\n", "a\0", "ä", "a" * 129, " a", "a ",
        "٣", "a?b", "a#b", "a:b",
    ],
)  # fmt: skip
def test_a_bad_id(db: None, dataset_id: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Dataset(dataset_id=dataset_id).full_clean()
    assert list(refusal.value.message_dict) == ["dataset_id"]


def test_an_id_is_taken_once(db: None) -> None:
    Dataset.objects.create(dataset_id="cats")
    with refused("dataset_id_once"), transaction.atomic():
        Dataset.objects.create(dataset_id="cats")
    with pytest.raises(ValidationError, match="already exists"):
        Dataset(dataset_id="cats").full_clean()


def test_an_id_is_free_again_once_its_dataset_is_deleted(db: None) -> None:
    for _ in range(3):
        dataset = Dataset(dataset_id="cats")
        dataset.full_clean()
        dataset.save()
        Dataset.objects.update(deleted_at=timezone.now())
    assert Dataset.with_deleted.count() == 3
    assert not Dataset.objects.exists()


def test_ids_differ_by_case(db: None) -> None:
    Dataset.objects.create(dataset_id="cats")
    Dataset.objects.create(dataset_id="Cats")
    assert Dataset.objects.count() == 2


def test_the_title_is_the_name_or_else_the_id() -> None:
    assert Dataset(dataset_id="cats").title == str(Dataset(dataset_id="cats")) == "cats"
    assert Dataset(dataset_id="cats", name="All my cats").title == "All my cats"


def test_a_dataset_outlives_its_owner(db: None) -> None:
    owner = User.objects.create_user("owner")
    dataset = Dataset.objects.create(dataset_id="cats", owner=owner)
    owner.delete()
    dataset.refresh_from_db()
    assert dataset.owner is None


def sample(dataset: Dataset, path: str = "a.jpg", **changes: Any) -> Sample:
    values = {
        "size": 1, "mtime_ns": 1, "sha256": "0" * 64, "format": "JPEG", "width": 1, "height": 1,
        "thumbnail_width": 1, "thumbnail_height": 1, "seen_in_run": 1,
    }  # fmt: skip
    return Sample.objects.create(dataset=dataset, path=path, **{**values, **changes})


def block(dataset: Dataset, dimensions: int = 4) -> EmbeddingBlock:
    return EmbeddingBlock.objects.create(
        dataset=dataset, embedder="test", dimensions=dimensions, sample_ids=b"", vectors=b""
    )


@pytest.fixture
def dataset(db: None) -> Dataset:
    return Dataset.objects.create(dataset_id="cats")


def refused(name: str) -> Any:
    """SQLite names the columns of a unique index in its refusal, PostgreSQL the index."""
    unique = "_once" in name and connection.vendor == "sqlite"
    return pytest.raises(IntegrityError, match="UNIQUE" if unique else name)


def test_visibility_is_one_of_two(dataset: Dataset) -> None:
    with refused("dataset_visibility_known"), transaction.atomic():
        Dataset.objects.update(visibility="secret")


def test_a_path_is_there_once_in_a_dataset(dataset: Dataset) -> None:
    sample(dataset)
    sample(Dataset.objects.create(dataset_id="dogs"))
    with refused("sample_once_a_path"), transaction.atomic():
        sample(dataset)


def test_an_embedding_has_dimensions(dataset: Dataset) -> None:
    with refused("embedding_block_dimensions_positive"), transaction.atomic():
        block(dataset, dimensions=0)


def test_a_prefix_is_reserved_once_for_a_team(db: None) -> None:
    team = Group.objects.create(name="Team A")
    ReservedPrefix.objects.create(prefix="team-a-", team=team)
    with refused("reserved_prefix_once_a_team"), transaction.atomic():
        ReservedPrefix.objects.create(prefix="team-a-", team=team)


def test_a_user_is_a_member_once_with_a_known_role(dataset: Dataset) -> None:
    ada = User.objects.create_user("ada")
    dataset.members.add(ada)
    assert dataset.memberships.get().role == "report"
    with refused("membership_once"), transaction.atomic():
        dataset.memberships.create(user=ada, role="view")
    with refused("membership_role_known"), transaction.atomic():
        dataset.memberships.update(role="rule")


def test_a_sample_outlives_its_embedding(dataset: Dataset) -> None:
    embedded = sample(dataset, embedding_block=block(dataset))
    EmbeddingBlock.objects.all().delete()
    embedded.refresh_from_db()
    assert embedded.embedding_block is None


def test_a_dataset_takes_its_samples_and_embeddings_along(dataset: Dataset) -> None:
    sample(dataset, embedding_block=block(dataset))
    dataset.delete()
    assert not Sample.objects.exists()
    assert not EmbeddingBlock.objects.exists()


def test_every_constraint_of_the_app_is_tested_here() -> None:
    declared = {c.name for model in apps.get_app_config("datasets").get_models() for c in model._meta.constraints}
    assert declared == {
        "dataset_id_once", "dataset_visibility_known", "sample_once_a_path", "embedding_block_dimensions_positive",
        "reserved_prefix_once_a_team", "membership_once", "membership_role_known",
    }  # fmt: skip


def test_the_longest_path_that_a_scan_takes_fits_into_its_index(dataset: Dataset) -> None:
    # PostgreSQL indexes 2,704 bytes of a row at most; a scan refuses paths of more than 1,024.
    longest = "".join(chr(0x4E00 + (number * 7919) % 20000) for number in range(341))
    assert Sample.objects.get(pk=sample(dataset, path=longest).pk).path == longest
