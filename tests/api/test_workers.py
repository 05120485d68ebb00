"""GET /api/datasets/{id}/runs/{n}/workers."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.datasets.models import Dataset
from apps.progress.reports import Report, accept_reports

URL = "/api/datasets/cats/runs/1/workers"


@pytest.fixture
def dataset(db: None) -> Dataset:
    dataset = Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)
    reports = [
        Report(stage="index", worker="a", current=3, total=10, failed=1),
        Report(stage="index", worker="b", current=10, total=10),
        Report(stage="index", worker="c", current=5, skipped=2),
    ]
    accept_reports([(dataset.pk, report) for report in reports])
    return dataset


def test_the_workers_of_a_run_with_their_counts_and_signs(client: Client, dataset: Dataset) -> None:
    answer = client.get(URL).json()
    assert answer["next"] is None
    [first, second, third] = answer["workers"]
    assert {key: value for key, value in first.items() if not key.endswith("_at")} == {
        "worker": "a", "stage": "index", "state": "active", "health": "live", "current": 3, "total": 10, "failed": 1,
        "skipped": 0, "rate": None,
    }  # fmt: skip
    assert first["heard_at"]
    assert first["progressed_at"]
    assert (second["state"], second["health"]) == ("done", None)
    assert (third["state"], third["total"], third["skipped"]) == ("active", 0, 2)
    assert client.get("/api/datasets/cats/progress").json()["workers"] == {"active": 2, "silent": 0, "done": 1}


def test_they_come_in_pages(client: Client, dataset: Dataset) -> None:
    names: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        answer = client.get(URL, params).json()
        names += [one["worker"] for one in answer["workers"]]
        if answer["next"] is None:
            break
        params["after"] = answer["next"]
    assert names == ["a", "b", "c"]


def test_an_unknown_run_and_a_dataset_that_may_not_be_seen_are_unknown(client: Client, dataset: Dataset) -> None:
    assert client.get("/api/datasets/cats/runs/2/workers").status_code == 404
    Dataset.objects.update(visibility=Dataset.Visibility.PRIVATE)
    assert client.get(URL).status_code == 404


def test_it_takes_a_constant_number_of_queries(
    client: Client, dataset: Dataset, django_assert_num_queries: Any
) -> None:
    client.get(URL)
    with django_assert_num_queries(3):
        client.get(URL)
