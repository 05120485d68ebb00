"""A dataset that is made again under the id of one that was deleted never shows an older version than that one did."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.progress import services
from apps.progress.selectors import progress_of

pytestmark = pytest.mark.django_db


def _dataset() -> Dataset:
    return Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)


def test_versions_go_on(client: Client) -> None:
    before = _dataset()
    services.finish(services.begin_run(before).pk)
    last = progress_of(before.pk).version
    address = "/api/datasets/cats/progress"
    etag = client.get(address).headers["ETag"]
    delete_dataset(before)

    after = _dataset()
    fresh = progress_of(after.pk)
    assert (fresh.version, fresh.state, fresh.run) == (last + 1, "pending", None)
    assert client.get(address, headers={"If-None-Match": etag}).status_code == 200
    assert client.get("/datasets/cats/progress/header/", {"v": str(last)}).status_code == 200

    services.begin_run(after)
    begun = progress_of(after.pk)
    assert (begun.version, begun.run) == (last + 2, 1)
    delete_dataset(after)
    assert progress_of(_dataset().pk).version == last + 3


def test_another_dataset_begins_at_nothing() -> None:
    before = _dataset()
    services.begin_run(before)
    delete_dataset(before)
    assert progress_of(Dataset.objects.create(dataset_id="Cats").pk).version == 0


def test_one_that_never_ran_leaves_nothing() -> None:
    delete_dataset(_dataset())
    assert progress_of(_dataset().pk).version == 0
