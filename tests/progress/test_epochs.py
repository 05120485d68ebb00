"""Epoch and version together never repeat, though a dataset is made again or a database is restored."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.test import Client

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.progress import services
from apps.progress.selectors import progress_of

pytestmark = pytest.mark.django_db

ADDRESS = "/api/datasets/cats/progress"


def _dataset(dataset_id: str = "cats") -> Dataset:
    return Dataset.objects.create(dataset_id=dataset_id, visibility=Dataset.Visibility.PUBLIC)


def _key(dataset: Dataset) -> tuple[str, int]:
    progress = progress_of(dataset.pk)
    return progress.epoch, progress.version


def test_dataset_that_is_made_again_repeats_none(client: Client) -> None:
    keys = []
    for _ in range(2):
        dataset = _dataset()
        keys.append(_key(dataset))  # never ran
        services.begin_run(dataset)
        keys.append(_key(dataset))
        shown = progress_of(dataset.pk)
        etag = client.get(ADDRESS).headers["ETag"]
        delete_dataset(dataset)
    assert len(set(keys)) == 4
    services.begin_run(_dataset())
    assert client.get(ADDRESS, headers={"If-None-Match": etag}).status_code == 200
    query = {"v": str(shown.version), "epoch": shown.epoch}
    assert client.get("/datasets/cats/progress/header/", query).status_code == 200


def test_changes_and_runs_stay_in_their_epoch() -> None:
    dataset = _dataset()
    run = services.begin_run(dataset)
    before = _key(dataset)
    services.finish(run.pk)
    services.begin_run(dataset)
    assert _key(dataset) == (before[0], before[1] + 2)


def test_restored_database_has_other_epochs(client: Client) -> None:
    cats, dogs = _dataset(), _dataset("dogs")
    for dataset in (cats, dogs):
        services.begin_run(dataset)
    before, etag = [_key(cats), _key(dogs)], client.get(ADDRESS).headers["ETag"]
    call_command("restored")
    after = [_key(cats), _key(dogs)]
    assert [version for _, version in after] == [version for _, version in before]
    assert not {epoch for epoch, _ in after} & {epoch for epoch, _ in before}
    assert client.get(ADDRESS, headers={"If-None-Match": etag}).status_code == 200


def test_of_several_that_find_it_restored_one_renews_the_epochs() -> None:
    cats, dogs = _dataset(), _dataset("dogs")
    for dataset in (cats, dogs):
        services.begin_run(dataset)
    found = {dataset.pk: _key(dataset)[0] for dataset in (cats, dogs)}
    assert services.renew_epochs({cats.pk: found[cats.pk]})
    renewed = _key(dogs)
    assert not services.renew_epochs({dogs.pk: found[dogs.pk]})
    assert not services.renew_epochs({})
    assert _key(dogs) == renewed
