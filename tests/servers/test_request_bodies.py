"""Request bodies under Daphne: the API refuses them in JSON, and Twisted answers none of them itself."""

from __future__ import annotations

import httpx
import pytest

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from tests.processes import Server


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"],
)
def test_other_content_types_are_refused_in_json(server: Server, dataset: Dataset, content_type: str) -> None:
    headers = {"Authorization": f"Bearer {issue_token('x')[1]}", "Content-Type": content_type}
    for path in (f"/api/datasets/{dataset.dataset_id}/progress", "/api/progress"):
        response = httpx.post(server.url + path, content=b'{"current": 1}', headers=headers, timeout=60)
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_a_body_that_is_too_large_is_refused_in_json(server: Server, dataset: Dataset) -> None:
    headers = {"Authorization": f"Bearer {issue_token('x')[1]}", "Content-Type": "application/json"}
    body = b'{"message": "' + b"m" * 10_000_000 + b'"}'
    response = httpx.post(
        f"{server.url}/api/datasets/{dataset.dataset_id}/progress", content=body, headers=headers, timeout=60
    )
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
