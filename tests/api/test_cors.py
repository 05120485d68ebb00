"""The pages of other origins: those that are allowed by name may read the API, and nothing else."""

from __future__ import annotations

import pytest
from django.test import Client, override_settings

from apps.datasets.models import Dataset

FRONTEND = "https://frontend.example"
PATH = "/api/datasets/cats/progress"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def cats() -> Dataset:
    return Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)


@override_settings(CORS_ALLOWED_ORIGINS=[FRONTEND])
def test_allowed_origin_may_read_the_progress_and_its_etag(client: Client) -> None:
    answer = client.get(PATH, headers={"Origin": FRONTEND})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRONTEND
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    asked = {"Origin": FRONTEND, "Access-Control-Request-Method": "GET"}
    preflight = client.options(PATH, headers={**asked, "Access-Control-Request-Headers": "if-none-match"})
    assert "if-none-match" in preflight.headers["Access-Control-Allow-Headers"]


@override_settings(CORS_ALLOWED_ORIGINS=[FRONTEND])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"{FRONTEND}.evil.example", "http://frontend.example"]
)
def test_foreign_origin_may_not(client: Client, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in client.get(PATH, headers={"Origin": origin}).headers


@override_settings(CORS_ALLOWED_ORIGINS=[FRONTEND])
def test_pages_may_be_read_by_no_other_origin(client: Client) -> None:
    assert "Access-Control-Allow-Origin" not in client.get("/", headers={"Origin": FRONTEND}).headers


def test_by_default_no_origin_is_allowed(client: Client) -> None:
    assert "Access-Control-Allow-Origin" not in client.get(PATH, headers={"Origin": FRONTEND}).headers
