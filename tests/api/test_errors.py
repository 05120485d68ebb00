"""Refusals are JSON with a `detail` and a stable `code`, whatever the request."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from django.db import IntegrityError
from django.test import Client, RequestFactory
from django.urls import path
from ninja import NinjaAPI, Schema

from apps.api.errors import CODES, answer_in_json, error, in_json, json_under
from apps.progress.models import Run


@pytest.mark.parametrize(
    "address",
    ["/api/", "/api/x", "/api/dataset", "/api/datasets/", "/api/datasets/cats/progress/", "/api/docs/", "/api/%00"],
)
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_address(db: None, address: str, method: str) -> None:
    response = getattr(Client(enforce_csrf_checks=True), method)(address)
    if method != "get" and address == "/api/":
        assert response.status_code in (404, 405)
    else:
        assert response.status_code == 404
        assert response.json() == {"detail": "Not Found.", "code": "not_found"}


@pytest.mark.parametrize("address", ["/api/openapi.json", "/api/docs"])
def test_what_can_only_be_read(address: str) -> None:
    response = Client(enforce_csrf_checks=True).post(address)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD"


def test_a_failure_of_ours_is_told_without_its_cause(
    client: Client, db: None, caplog: pytest.LogCaptureFixture
) -> None:
    with patch("apps.api.progress.facts_for", side_effect=ZeroDivisionError("secret")):
        response = client.get("/api/datasets/cats/progress")
    assert response.status_code == 500
    assert response.json() == {"detail": "Something went wrong. The reason is in the server's log.", "code": "internal"}
    assert "ZeroDivisionError: secret" in caplog.text


class _Item(Schema):
    item: str


class _Body(Schema):
    current: int
    failures: list[_Item] = []


_api = NinjaAPI(urls_namespace="test-errors", docs_url=None, openapi_url=None)
answer_in_json(_api)


@_api.post("/body")
def _body(request: Any, body: _Body, page: int = 1) -> dict[str, int]:
    return {"current": body.current}


@_api.post("/races/{what}")
def _race(request: Any, what: str) -> None:
    raise {"lost": IntegrityError("x"), "gone": Run.DoesNotExist("x")}[what]


urlpatterns = [path("", _api.urls)]


@pytest.mark.urls(__name__)
class TestBodies:
    """What operations that take a body are going to answer."""

    def test_it_works(self, client: Client) -> None:
        assert client.post("/body", {"current": 1}, content_type="application/json").json() == {"current": 1}

    @pytest.mark.parametrize("body", ["{", "\x00", "[1", b"\xff"])
    def test_what_is_no_json_is_malformed(self, client: Client, body: Any) -> None:
        response = client.post("/body", body, content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (400, "malformed")

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            ({}, "current"),
            ({"current": "x"}, "current"),
            ({"current": 1, "failures": [{"item": "a"}, {}]}, "failures.1.item"),
        ],
    )
    def test_what_cannot_be_taken_is_invalid_at_its_path(self, client: Client, body: Any, where: str) -> None:
        response = client.post("/body", body, content_type="application/json")
        told = response.json()
        assert (response.status_code, told["code"]) == (422, "invalid")
        assert [one["path"] for one in told["errors"]] == [where]
        assert told["detail"].startswith(f"{where}: ")

    @pytest.mark.parametrize(("what", "status", "code"), [("lost", 409, "conflict"), ("gone", 404, "not_found")])
    def test_a_race_that_is_lost_is_no_failure(self, client: Client, what: str, status: int, code: str) -> None:
        response = client.post(f"/races/{what}", {}, content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (status, code)

    def test_a_parameter_of_the_query_is_named(self, client: Client) -> None:
        response = client.post("/body?page=x", {"current": 1}, content_type="application/json")
        assert [one["path"] for one in response.json()["errors"]] == ["page"]


@pytest.mark.parametrize("status", [*CODES, 418, 503])
def test_every_refusal_has_words_and_a_code(status: int) -> None:
    response = error(status)
    assert response.status_code == status
    assert response.content


def test_what_fails_before_a_view_is_reached_is_json_under_the_api_alone() -> None:
    from django.http import HttpResponse

    handler = json_under("/api/", 400, lambda request, exception: HttpResponse("a page", status=400))
    request = RequestFactory()
    assert handler(request.get("/api/x"), Exception())["Content-Type"] == "application/json"
    assert handler(request.get("/datasets/"), Exception()).status_code == 400
    assert handler(request.get("/datasets/"), Exception())["Content-Type"].startswith("text/html")


def test_in_json_leaves_what_is_no_refusal_alone() -> None:
    from django.http import HttpResponse

    page = HttpResponse("fine")
    assert in_json(lambda request: page)(RequestFactory().get("/")) is page


def test_an_unknown_host_is_refused_in_json(db: None) -> None:
    response = Client().get("/api/datasets/cats/progress", HTTP_HOST="elsewhere.example")
    assert response.status_code == 400
    assert response.json()["code"] == "malformed"
    assert b"<h1>" in Client().get("/", HTTP_HOST="elsewhere.example").content
