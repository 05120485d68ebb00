"""GET /api/datasets/{dataset_id}/progress"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.progress import selectors, services
from apps.progress.models import Head, Run
from apps.progress.snapshot import DatasetProgress

URL = "/api/datasets/cats/progress"
NOT_FOUND = {"detail": "There is no such dataset.", "code": "not_found"}


def fall_silent(run: Run, seconds: float, without_progress: float = 0) -> None:
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        heartbeat_at=now - timedelta(seconds=seconds), progressed_at=now - timedelta(seconds=without_progress)
    )


@pytest.fixture
def run(run: Run) -> Run:
    Head.objects.update(epoch="e1")
    return run


# --- 200 ------------------------------------------------------------------------------------------------------------


def test_it_answers_with_the_object_of_the_contract(client: Client, run: Run) -> None:
    response = client.get(URL)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    told = response.json()
    assert told == json.loads(selectors.progress_of(run.dataset_id).model_dump_json())
    assert DatasetProgress.model_validate(told).dataset_id == "cats"
    assert list(told)[:7] == ["dataset_id", "state", "current", "total", "message", "error", "updated_at"]
    assert (told["dataset_id"], told["state"], told["current"], told["total"]) == ("cats", "indexing", 45, 100)
    assert told["message"] == "Indexing samples... 45/100"


def test_a_dataset_that_never_ran_is_pending_0_of_0(client: Client, dataset: Dataset) -> None:
    told = client.get(URL).json()
    assert (told["state"], told["current"], told["total"], told["version"], told["run"]) == ("pending", 0, 0, 0, None)


def test_the_etag_is_epoch_and_version_and_the_answer_is_to_be_asked_for_again(client: Client, run: Run) -> None:
    response = client.get(URL)
    told = response.json()
    assert response["ETag"] == f'"{told["epoch"]}-{told["version"]}"' == '"e1-3"'
    assert response["Cache-Control"] == "no-cache"
    services.report(run.pk, current=46)
    assert client.get(URL)["ETag"] == '"e1-4"'


def test_head_tells_the_same_without_a_body(client: Client, run: Run) -> None:
    got, head = client.get(URL), client.head(URL)
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head[name] for name in ("ETag", "Cache-Control", "Content-Type")} == {
        name: got[name] for name in ("ETag", "Cache-Control", "Content-Type")
    }
    assert client.head(URL, headers={"If-None-Match": got["ETag"]}).status_code == 304


def test_characters_of_every_kind_arrive(client: Client, run: Run) -> None:
    message = 'ünï 🐈 <script>alert(1)</script> \u2028 \\ " \x01'
    services.report(run.pk, message=message)
    response = client.get(URL)
    assert json.loads(response.content)["message"] == message


# --- 304 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ['"e1-3"', 'W/"e1-3"', '"e1-1", "e1-3"', ' "e1-2" , W/"e1-3" ,"e1-4"', "*"])
def test_what_the_caller_has_is_not_sent_again(client: Client, run: Run, header: str) -> None:
    response = client.get(URL, headers={"If-None-Match": header})
    assert (response.status_code, response.content) == (304, b"")
    assert (response["ETag"], response["Cache-Control"]) == ('"e1-3"', "no-cache")


@pytest.mark.parametrize(
    "header",
    [
        '"e1-2"',
        '"e2-3"',
        '"3"',
        "e1-3",
        '"3',
        "'3'",
        '"e1-33"',
        '"e1-3-slow"',
        "",
        ",",
        "\x00",
        "é",
        "W/",
        '"e1-3" "e1-3"x',
    ],
)
def test_what_the_caller_has_not_or_cannot_say_is_sent(client: Client, run: Run, header: str) -> None:
    response = client.get(URL, headers={"If-None-Match": header})
    assert response.status_code == 200
    assert response.json()["version"] == 3


def test_a_change_is_sent(client: Client, run: Run) -> None:
    etag = client.get(URL)["ETag"]
    services.report(run.pk, current=46)
    response = client.get(URL, headers={"If-None-Match": etag})
    assert (response.status_code, response.json()["current"]) == (200, 46)


def test_health_is_sent_though_it_changes_without_a_version(client: Client, run: Run) -> None:
    etag, seen = client.get(URL)["ETag"], []
    Run.objects.filter(pk=run.pk).update(sign_gap=1.0)
    for sign, progress in ((40, 40), (0, 70), (200, 200)):
        fall_silent(run, sign, progress)
        response = client.get(URL, headers={"If-None-Match": etag})
        assert response.status_code == 200
        etag = response["ETag"]
        assert client.get(URL, headers={"If-None-Match": etag}).status_code == 304
        seen.append((etag, response.json()["health"], response.json()["version"]))
    assert seen == [('"e1-3-slow"', "slow", 3), ('"e1-3-stalled"', "stalled", 3), ('"e1-3-lost"', "lost", 3)]
    fall_silent(run, 0)
    assert client.get(URL, headers={"If-None-Match": etag})["ETag"] == '"e1-3"'


def test_a_finished_run_has_no_health_in_its_etag(client: Client, run: Run) -> None:
    services.finish(run.pk)
    fall_silent(run, 10_000)
    assert client.get(URL)["ETag"] == '"e1-4"'


def test_a_precondition_that_fails_is_refused_in_json(client: Client, run: Run) -> None:
    response = client.get(URL, headers={"If-Match": '"e1-2"'})
    assert (response.status_code, response.json()["code"]) == (412, "precondition_failed")
    assert client.get(URL, headers={"If-Match": '"e1-3"'}).status_code == 200


# --- Queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("etag", ["", '"e1-3"'])
def test_an_anonymous_caller_costs_one_query(
    client: Client, run: Run, etag: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        response = client.get(URL, headers={"If-None-Match": etag})
    assert response.status_code == (304 if etag else 200)
    assert not response.cookies


def test_an_id_that_no_dataset_can_have_costs_none(client: Client, db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get("/api/datasets/-/progress").status_code == 404


def test_a_known_caller_costs_session_and_user_more(
    client_of: Callable[..., Client], run: Run, django_assert_num_queries: Any
) -> None:
    client = client_of("ann")
    with django_assert_num_queries(3):
        client.get(URL)


# --- 404 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dataset_id",
    ["dogs", "CATS", "-", "..", "a" * 129, "a b", "%00", "cats%00", "%F0%9F%90%88", "%FF", "cats%0A", "a%2Fb"],
)
def test_an_unknown_dataset(client: Client, dataset: Dataset, dataset_id: str) -> None:
    response = client.get(f"/api/datasets/{dataset_id}/progress")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/json"
    assert response.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("who", "status"), [(None, 404), ("stranger", 404), ("owner", 200), ("member", 200), ("staff", 200)]
)
def test_a_private_dataset(
    client: Client, client_of: Callable[..., Client], run: Run, who: str | None, status: int
) -> None:
    Dataset.objects.update(visibility="private")
    caller = client_of(who, is_staff=who == "staff") if who else client
    if who == "member":
        Dataset.objects.get().members.add(caller.session["_auth_user_id"])
    response = caller.get(URL, headers={"If-None-Match": '"e1-2"'})
    assert response.status_code == status
    if status == 404:
        # Byte for byte what an unknown dataset answers, so that nothing tells that it is there.
        unknown = caller.get("/api/datasets/dogs/progress")
        assert (response.content, dict(response.headers)) == (unknown.content, dict(unknown.headers))
        assert response.json() == NOT_FOUND


@pytest.mark.parametrize("header", ['"e1-3"', "*"])
def test_a_matching_etag_tells_nothing_of_a_private_dataset(client: Client, run: Run, header: str) -> None:
    Dataset.objects.update(visibility="private")
    assert client.get(URL, headers={"If-None-Match": header}).status_code == 404


def test_the_answer_varies_by_caller(client: Client, run: Run) -> None:
    assert "Cookie" in client.get(URL)["Vary"]


# --- Other methods --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace"])
def test_another_method_is_refused(run: Run, method: str) -> None:
    response = getattr(Client(enforce_csrf_checks=True), method)(URL)
    assert response.status_code == 405
    assert response.json() == {"detail": "Method Not Allowed.", "code": "method_not_allowed"}
    assert {name.strip() for name in response["Allow"].split(",")} == {"GET", "HEAD", "POST"}
    assert selectors.progress_of(run.dataset_id).version == 3


# --- Whatever comes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cookie",
    ["sessionid=x", 'sessionid="\\000aaaaaaaaaa"', "sessionid=" + "a" * 5000, "sessionid=\udcff", ";;;=", 'a="'],
)
def test_a_bad_cookie_is_an_anonymous_caller(run: Run, cookie: str) -> None:
    response = Client(raise_request_exception=False).get(
        URL, HTTP_COOKIE=cookie.encode("latin1", "replace").decode("latin1")
    )
    assert response.status_code == 200, connection.vendor
