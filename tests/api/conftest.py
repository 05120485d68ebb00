"""Datasets that are public and private, and callers that may see them or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.progress import services
from apps.progress.models import Run
from apps.progress.services import StagePlan


@pytest.fixture
def dataset(db: None) -> Dataset:
    owner = User.objects.create_user("owner")
    return Dataset.objects.create(dataset_id="cats", visibility="public", owner=owner)


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


@pytest.fixture
def token_of(db: None) -> Callable[..., str]:
    """The secret of a new token, of the user of that name; of none where the name is empty."""

    def make(name: str = "", *, staff: bool = False, **values: Any) -> str:
        user = User.objects.get_or_create(username=name, defaults={"is_staff": staff})[0] if name else None
        return issue_token("test", user=user, **values)[1]

    return make


@dataclass(frozen=True)
class Pipeline:
    """A client that shows a token, and speaks JSON."""

    secret: str

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        if self.secret:
            headers.setdefault("Authorization", f"Bearer {self.secret}")
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        return Client(enforce_csrf_checks=True).generic(
            method, f"/api/{path}", b"" if body is None else data,
            content_type=headers.pop("content_type", "application/json"), headers=headers,
        )  # fmt: skip

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def get(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, **headers)

    def report(self, dataset_id: str, **said: Any) -> Any:
        return self.post(f"datasets/{dataset_id}/progress", said)


@pytest.fixture
def pipeline(token_of: Callable[..., str]) -> Pipeline:
    """A pipeline with a token of the site's own."""
    return Pipeline(token_of())
