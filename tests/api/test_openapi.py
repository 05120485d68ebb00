"""GET /api/openapi.json, and GET /api/docs on which it can be read."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import sync_playwright

from apps.progress.snapshot import DatasetProgress
from tests import services

PATH = "/api/datasets/{dataset_id}/progress"


@pytest.fixture
def described(client: Client) -> Any:
    response = client.get("/api/openapi.json")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    return response.json()


def test_every_operation_is_described_in_words(described: Any) -> None:
    assert described["openapi"].startswith("3.")
    assert described["info"]["title"] == "Dataset Progress"
    assert PATH in described["paths"]
    ids = []
    for operations in described["paths"].values():
        for operation in operations.values():
            ids.append(operation["operationId"])
            assert operation["summary"]
            assert operation["description"]
            assert all(parameter.get("description") for parameter in operation["parameters"]), operation
    assert len(ids) == len(set(ids))


def test_the_answers_are_those_that_come(described: Any) -> None:
    answers = described["paths"][PATH]["get"]["responses"]
    assert set(answers) == {"200", "304", "401", "404", "412", "429", "503"}
    schema = answers["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/DatasetProgress"}
    assert "ETag" in answers["200"]["headers"]
    assert answers["404"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_the_object_is_described_as_it_is_sent(described: Any) -> None:
    schema = described["components"]["schemas"]["DatasetProgress"]
    sent = [name for name, field in DatasetProgress.model_fields.items() if not field.exclude]
    assert list(schema["properties"]) == sent
    assert not {"started_at", "finished_at", "silent_since"} & set(sent)  # of the run, for our own pages alone
    assert schema["properties"]["updated_at"]["format"] == "date-time"
    assert described["components"]["schemas"]["State"]["enum"] == ["pending", "indexing", "embedding", "ready", "error"]


def test_the_path_says_which_ids_there_are(described: Any) -> None:
    parameters = {one["name"]: one for one in described["paths"][PATH]["get"]["parameters"]}
    assert set(parameters) == {"dataset_id", "If-None-Match"}
    assert parameters["dataset_id"]["in"] == "path"
    assert re.fullmatch(parameters["dataset_id"]["schema"]["pattern"], "cats-2026")


def test_the_page_names_nothing_of_another_host(client: Client) -> None:
    html = client.get("/api/docs").content.decode()
    assert 'lang="en"' in html
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)


@pytest.mark.django_db(transaction=True)
def test_the_page_can_be_read_in_a_browser_under_our_policy(live_server: Any) -> None:
    chromium = services.find_program("chromium", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{live_server.url}/api/docs")
        page.get_by_text("How far a dataset is", exact=True).first.click(timeout=60_000)
        page.get_by_text("The dataset's id.").first.wait_for()
        assert page.title() == "Dataset Progress"
        browser.close()
    assert [line for line in said if line.startswith("error")] == []
    assert [url for url in asked if not url.startswith((live_server.url, "data:"))] == []
