"""POST /api/datasets/{dataset_id}/progress and POST /api/progress"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from apps.api.bodies import ReportBody
from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.progress import selectors
from apps.progress.models import Run
from apps.progress.reports import Report
from apps.progress.snapshot import DatasetProgress

from .conftest import Pipeline


def counts() -> tuple[int, ...]:
    """How many rows there are, and how often anything has changed."""
    versions = Dataset.objects.values_list("head__version", flat=True)
    return Dataset.objects.count(), Run.objects.count(), sum(version or 0 for version in versions)


def test_every_field_of_a_report_is_passed_on() -> None:
    """One that fails here is a new field of `Report` or its body, which is to be in both, and in this example."""
    said = {
        "state": "error", "stage": "encode", "label": "Encoding", "unit": "files", "current": 1, "total": 2,
        "message": "Last file", "error": "No space", "worker": "node-3", "failed": 3, "skipped": 4,
        "failures": [{"item": "a.png", "reason": "truncated"}], "run": 5, "leave": True, "done": True,
    }  # fmt: skip
    report = ReportBody.model_validate(said).report()
    passed_on = {field.name: getattr(report, field.name) for field in fields(Report)}
    assert passed_on == {**said, "failures": [("a.png", "truncated")]}
    assert said.keys() == ReportBody.model_fields.keys()


# --- One -------------------------------------------------------------------------------------------------------------


def test_one_curl_is_a_complete_reporter(pipeline: Pipeline) -> None:
    said = {"state": "indexing", "current": 45, "total": 100, "message": "Indexing samples... 45/100"}
    response = pipeline.post("datasets/cats/progress", said)
    assert response.status_code == 200, response.content
    told = response.json()
    assert set(told) == {"progress", "control"}
    assert told["control"] == "run"
    assert {name: told["progress"][name] for name in said} == said
    DatasetProgress.model_validate(told["progress"])
    dataset = Dataset.objects.get(dataset_id="cats")
    assert told["progress"] == json.loads(selectors.progress_of(dataset.pk).model_dump_json())
    assert dataset.owner is None


def test_what_is_ready_keeps_its_count(pipeline: Pipeline) -> None:
    pipeline.report("cats", state="indexing", current=4, total=10)
    told = pipeline.report("cats", state="ready").json()["progress"]
    assert (told["state"], told["current"], told["total"], told["percent"]) == ("ready", 4, 4, 100)
    assert {name: told["stage"][name] for name in ("current", "total", "planned")} == {
        "current": 4, "total": 4, "planned": 10,
    }  # fmt: skip


def test_a_dataset_that_a_token_makes_is_its_users_and_as_public_as_the_setting_says(
    token_of: Callable[..., str], settings: Settings
) -> None:
    settings.DATASETS_PUBLIC = False
    assert Pipeline(token_of("ada")).report("cats", current=1).status_code == 200
    dataset = Dataset.objects.get()
    assert (dataset.owner, dataset.visibility) == (User.objects.get(username="ada"), "private")


def test_nothing_said_of_a_dataset_that_is_not_there(pipeline: Pipeline) -> None:
    response = pipeline.report("cats")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert not Dataset.objects.exists()


def test_a_first_report_that_is_refused_makes_no_dataset(pipeline: Pipeline) -> None:
    response = pipeline.report("cats", state="pending", current=5)
    assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
    assert not Dataset.objects.exists()


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"run": 1, "current": 99}, 409, "run_finished"),
        ({"run": 3, "current": 1}, 404, "unknown_run"),
        ({"state": "pending"}, 409, "illegal_transition"),
        ({"state": "indexing", "current": 1}, 409, "illegal_transition"),
    ],
)
def test_moves_that_are_illegal(pipeline: Pipeline, said: dict[str, Any], status: int, code: str) -> None:
    pipeline.report("cats", state="ready")
    pipeline.report("cats", state="indexing", current=5)
    pipeline.report("cats", state="embedding", current=5)
    before = counts()
    response = pipeline.post("datasets/cats/progress", said)
    assert (response.status_code, response.json()["code"]) == (status, code), response.json()
    assert counts() == before


INVALID: list[tuple[Any, str]] = [
    ({"current": "45"}, "current"),
    ({"current": 4.5}, "current"),
    ({"current": True}, "current"),
    ({"current": -1}, "current"),
    ({"current": 10**15 + 1}, "current"),
    ({"total": 2**63}, "total"),
    ({"state": "done"}, "state"),
    ({"state": "ready", "error": "no"}, "body"),
    ({"stage": ""}, "stage"),
    ({"stage": "x" * 65}, "stage"),
    ({"stage": "a\0b"}, "stage"),
    ({"label": "x" * 101}, "label"),
    ({"unit": "x" * 33}, "unit"),
    ({"unit": ""}, "unit"),
    ({"worker": ""}, "worker"),
    ({"message": "x" * 100_001}, "message"),
    ({"message": 5}, "message"),
    ({"failures": [{"reason": "no name"}]}, "failures.0.item"),
    ({"failures": [{"item": ""}]}, "failures.0.item"),
    ({"failures": [{"item": "a"}] * 1001}, "failures"),
    ({"run": 0}, "run"),
    ({"percent": 5}, "percent"),
    ({"message": "\ud800"}, "message"),
    ([], "body"),
    ("text", "body"),
    (None, "body"),
]


@pytest.mark.parametrize(("body", "path"), INVALID, ids=str)
def test_what_cannot_be_taken_is_refused_at_its_path(pipeline: Pipeline, body: Any, path: str) -> None:
    response = pipeline.post("datasets/cats/progress", json.dumps(body))
    assert response.status_code == 422, response.content
    told = response.json()
    assert told["code"] == "invalid"
    assert [one["path"] for one in told["errors"]] == [path]
    assert not Dataset.objects.exists()


MALFORMED = [
    b"{", b"\xff\xfe{}", b'{"current": 1', b"[" * 100_000, b'{"a":' * 50_000, b"NaN" * 3,
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:12]))
def test_what_is_no_json_is_malformed(pipeline: Pipeline, body: bytes) -> None:
    response = pipeline.post("datasets/cats/progress", body)
    assert (response.status_code, response.json()["code"]) == (400, "malformed")
    assert not Dataset.objects.exists()


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""]
)
def test_another_content_type(pipeline: Pipeline, content_type: str) -> None:
    response = pipeline.post("datasets/cats/progress", '{"current": 1}', content_type=content_type)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert "application/json" in response.json()["detail"]


def test_ten_megabytes(pipeline: Pipeline) -> None:
    response = pipeline.post("datasets/cats/progress", json.dumps({"message": "x" * 10_000_000}))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("dataset_id", [".hidden", "a b", "x" * 129, "%00", "ca/ts"])
def test_an_id_that_no_dataset_can_have(pipeline: Pipeline, dataset_id: str) -> None:
    assert pipeline.report(dataset_id, current=1).status_code == 404
    assert not Dataset.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_who_report_first_make_one_dataset_and_one_run(transactional_db: None) -> None:
    pipeline = Pipeline(issue_token("test")[1])
    barrier = threading.Barrier(4)

    def report(worker: int) -> int:
        barrier.wait(30)
        try:
            status: int = pipeline.report("cats", worker=f"w{worker}", current=10).status_code
            return status
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(report, range(4))) == [200] * 4
    assert (Dataset.objects.count(), Run.objects.count()) == (1, 1)
    assert selectors.progress_of(Dataset.objects.get().pk).current == 40


# --- Many ------------------------------------------------------------------------------------------------------------


def test_each_update_of_a_batch_has_its_own_result(pipeline: Pipeline, token_of: Callable[..., str]) -> None:
    pipeline.report("done", state="ready")
    team = Pipeline(token_of("ada", datasets="team-*,done", staff=True))
    response = team.post(
        "progress",
        {
            "updates": [
                {"dataset_id": "team-a", "current": 1, "total": 2},
                {"dataset_id": "other", "current": 1},
                {"dataset_id": "team-b", "current": "1"},
                {"dataset_id": "done", "message": "late"},
                {"dataset_id": "team-b", "state": "embedding", "current": 3},
                {"current": 1},
                {"dataset_id": "team-c"},
                {"dataset_id": "team-a", "current": 2},
            ]
        },
    )
    assert response.status_code == 200, response.content
    results = response.json()["results"]
    assert [result["status"] for result in results] == [200, 403, 422, 409, 200, 422, 404, 200]
    assert [result.get("code") for result in results] == [
        None, "forbidden", "invalid", "run_finished", None, "invalid", "not_found", None,
    ]  # fmt: skip
    assert results[0] == {"status": 200, "run": 1, "version": 1, "control": "run"}
    assert results[2]["errors"] == [{"path": "current", "detail": "Input should be a valid integer"}]
    assert set(Dataset.objects.values_list("dataset_id", flat=True)) == {"done", "team-a", "team-b"}
    assert selectors.progress_of(Dataset.objects.get(dataset_id="team-a").pk).current == 2


@pytest.mark.parametrize("updates", [[], [{"dataset_id": "a"}] * 1001, {}, "x", None])
def test_a_batch_of_none_or_too_many(pipeline: Pipeline, updates: Any) -> None:
    response = pipeline.post("progress", {"updates": updates})
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


def test_a_thousand_updates_of_one_dataset_are_one_version(pipeline: Pipeline) -> None:
    updates = [{"dataset_id": "cats", "worker": f"w{number % 7}", "current": number} for number in range(1000)]
    results = pipeline.post("progress", {"updates": updates}).json()["results"]
    assert [result["status"] for result in results] == [200] * 1000
    progress = selectors.progress_of(Dataset.objects.get().pk)
    assert (progress.version, progress.current) == (1, sum(range(993, 1000)))


# --- How much --------------------------------------------------------------------------------------------------------


def test_a_token_may_make_so_many_requests(
    pipeline: Pipeline, token_of: Callable[..., str], settings: Settings
) -> None:
    settings.TOKEN_REQUESTS_A_SECOND = 1
    answers = [pipeline.report("cats", current=number) for number in range(1, 40)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 200 == answers[0].status_code == answers[4].status_code
    assert refused
    assert refused[0].json()["code"] == "too_many"
    assert int(refused[0]["Retry-After"]) >= 1
    assert Pipeline(token_of()).report("cats", current=100).status_code == 200
    assert Pipeline("").get("datasets").status_code == 200
