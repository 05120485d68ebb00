"""A dataset that is deleted between any two queries of a request is a 404, and no failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.datasets.models import Dataset, Sample
from apps.datasets.services import delete_dataset, issue_token
from apps.pipeline.work.removal import remove_deleted_datasets
from apps.progress.models import Run

PAGES = ["", "samples/{sample}/", "samples/{sample}/?similar", "delete/", "progress/header/", "progress/bar/"]


@contextmanager
def deleted_before(number: int, dataset: Dataset) -> Iterator[None]:
    """Delete a dataset with all its rows before a query, counted from 0."""
    count = iter(range(1_000_000))

    def delete(execute: Callable[..., Any], *query: Any) -> Any:
        if next(count) == number:
            delete_dataset(dataset)
            remove_deleted_datasets(threading.Event())
        return execute(*query)

    with connection.execute_wrapper(delete):
        yield


def queries_of(request: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as queries:
        request()
    return len(queries)


@pytest.mark.parametrize("page", PAGES)
def test_page(
    owner: User, run_in: Callable[..., Run], samples_in: Callable[..., list[Sample]], page: str,
    as_user: Callable[[User], Client],
) -> None:  # fmt: skip
    client = as_user(owner)

    def dataset() -> tuple[Dataset, str]:
        new = Dataset.objects.create(dataset_id="cats", visibility="public", owner=owner)
        run_in(new, "ready")
        [sample] = samples_in(new, 1)
        return new, f"/datasets/cats/{page.format(sample=sample.pk)}"

    first, address = dataset()
    number = queries_of(lambda: client.get(address))
    delete_dataset(first)
    answers = set()
    for query in range(number):
        shown, address = dataset()
        with deleted_before(query, shown):
            answers.add(client.get(address).status_code)
        Dataset.objects.all().delete()
    assert answers <= {200, 404}
    assert 404 in answers


@pytest.mark.parametrize(("method", "path"), [("get", "progress"), ("get", ""), ("get", "runs"), ("get", "runs/1")])
def test_api(db: None, run_in: Callable[..., Run], client: Client, method: str, path: str) -> None:
    _, secret = issue_token("any")
    headers = {"Authorization": f"Bearer {secret}"}
    answers = set()
    for query in range(8):
        dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
        run_in(dataset, "indexing")
        with deleted_before(query, dataset):
            answers.add(getattr(client, method)(f"/api/datasets/cats/{path}".rstrip("/"), headers=headers).status_code)
        Dataset.objects.all().delete()
    assert answers == {200, 404}
