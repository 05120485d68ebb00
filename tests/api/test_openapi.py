"""GET /api/openapi.json, and GET /api/docs on which it can be read."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import pytest
from django.test import Client

from apps.api.docs import Type, text, type_of
from apps.progress.snapshot import DatasetProgress

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


def test_the_page_says_all_that_openapi_says(client: Client, described: Any) -> None:
    html = client.get("/api/docs").text
    operations = [one for methods in described["paths"].values() for one in methods.values()]
    assert len(operations) > 10
    for one in operations:
        assert f'id="{one["operationId"]}"' in html
        assert escape(one["summary"]) in html
    for name, schema in described["components"]["schemas"].items():
        article = html.split(f'id="object-{name}"')[1].split("</article>")[0]
        assert [field for field in schema.get("properties", {}) if field not in article] == []
    # Every object that is named is described.
    assert set(re.findall(r'href="#object-(\w+)"', html)) <= set(described["components"]["schemas"])


def test_types_read_as_words() -> None:
    nullable = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}]}
    assert type_of(nullable) == Type([("integer", False), (" or ", False), ("null", False)], "at least 0, at most 9")
    listed = {"type": "array", "items": {"$ref": "#/components/schemas/Failure"}, "maxItems": 3}
    assert type_of(listed) == Type([("array of ", False), ("Failure", True)], "at most 3 of them")
    assert type_of({"enum": ["a", "b"]}).words == [('"a" | "b"', False)]
    assert type_of({"const": "a"}).words == [('"a"', False)]
    assert type_of({"type": "string", "format": "date-time"}).words == [("time (RFC 3339)", False)]


def test_descriptions_are_escaped() -> None:
    assert text("Say `a < b`.\n\n<b>") == "<p>Say <code>a &lt; b</code>.</p><p>&lt;b&gt;</p>"
    assert text("") == ""


def test_the_page_names_nothing_of_another_host(client: Client) -> None:
    html = client.get("/api/docs").text
    assert 'lang="en"' in html
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)
