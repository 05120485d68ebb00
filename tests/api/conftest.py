"""Datasets that are public and private, and callers that may see them or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from apps.progress.services import StagePlan


@pytest.fixture
def dataset(db: None) -> Dataset:
    owner = User.objects.create_user("owner")
    return Dataset.objects.create(key="cats", visibility="public", owner=owner)


@pytest.fixture
def run(dataset: Dataset) -> Run:
    """A run that is indexing, 45 of 100."""
    run = services.begin_run(dataset, [StagePlan("index", unit="images", total=100)])
    services.start_stage(run.pk, "index")
    return services.report(run.pk, current=45, message="Indexing samples... 45/100")


@pytest.fixture
def client_of(db: None) -> Callable[..., Client]:
    """A client that is logged in as the user of that name, who is made where there is none."""

    def log_in(name: str, **values: Any) -> Client:
        client = Client()
        client.force_login(User.objects.get_or_create(username=name, defaults=values)[0])
        return client

    return log_in
