"""Batches over HTTP: made, read, changed, followed and steered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.api.bodies import MAX_BATCHES
from apps.batches.models import Batch
from apps.datasets.models import Dataset
from apps.progress.models import Run

from .conftest import Pipeline


@pytest.fixture(autouse=True)
def users_may_add(settings: Any) -> None:
    settings.USERS_MAY_ADD_DATASETS = True


@pytest.fixture
def nightly(pipeline: Pipeline) -> Pipeline:
    """A pipeline with a batch of two datasets, one of them half done."""
    pipeline.report("cats", stage="index", current=50, total=100)
    pipeline.report("dogs", state="ready")
    response = pipeline.post("batches", {"batch_id": "nightly", "limit": 2, "datasets": ["cats", "dogs"]})
    assert response.status_code == 201, response.content
    return pipeline


def test_a_batch_is_made_and_read(nightly: Pipeline) -> None:
    batch = nightly.get("batches/nightly").json()
    assert (batch["batch_id"], batch["owner"], batch["limit"]) == ("nightly", "", 2)
    assert batch["progress"] == nightly.get("batches/nightly/progress").json()
    assert (batch["progress"]["current"], batch["progress"]["total"], batch["progress"]["state"]) == (1, 2, "indexing")
    page = nightly.get("batches/nightly/datasets?limit=1").json()
    assert ([one["dataset_id"] for one in page["datasets"]], page["next"]) == (["cats"], "cats")
    assert page["datasets"][0]["progress"] == nightly.get("datasets/cats/progress").json()
    assert nightly.get("batches/nightly/datasets?after=cats").json()["datasets"][0]["dataset_id"] == "dogs"


def test_batches_are_listed_in_pages(nightly: Pipeline) -> None:
    for name in ("a", "z"):
        nightly.post("batches", {"batch_id": name})
    seen, query = [], "?limit=2"
    while query:
        page = nightly.get(f"batches{query}").json()
        seen += [(one["batch_id"], one["datasets"]) for one in page["batches"]]
        query = f"?limit=2&after={page['next']}" if page["next"] else ""
    assert seen == [("a", 0), ("nightly", 2), ("z", 0)]


def test_what_is_refused_changes_nothing(nightly: Pipeline) -> None:
    for body, status in [
        ({"batch_id": "nightly"}, 422), ({"batch_id": "no/id"}, 422), ({"batch_id": "x", "limit": -1}, 422),
        ({"batch_id": "x", "datasets": ["cats", "nobody"]}, 404), ({"batch_id": "x", "more": 1}, 422), ({}, 422),
    ]:  # fmt: skip
        assert nightly.post("batches", body).status_code == status, body
    for body, status in [({"add": ["nobody"], "limit": 9}, 404), ({"add": "cats"}, 422), ({"limit": "1"}, 422)]:
        assert nightly.send("PATCH", "batches/nightly", body).status_code == status, body
    assert list(Batch.objects.values_list("batch_id", "limit")) == [("nightly", 2)]
    assert Pipeline("").post("batches", {"batch_id": "x"}).status_code == 401


def test_a_batch_is_changed_and_deleted(nightly: Pipeline) -> None:
    nightly.report("birds", state="ready")
    body = {"add": ["birds"], "remove": ["cats"], "name": "Every night", "limit": 0}
    changed = nightly.send("PATCH", "batches/nightly", body).json()
    assert (changed["name"], changed["limit"]) == ("Every night", 0)
    assert (changed["progress"]["total"], changed["progress"]["state"]) == (2, "ready")
    assert nightly.send("DELETE", "batches/nightly").status_code == 204
    assert nightly.get("batches/nightly").status_code == 404
    assert Dataset.objects.count() == 3


def test_those_who_may_not_change_it(nightly: Pipeline, token_of: Callable[..., str]) -> None:
    Dataset.objects.update(visibility="public")
    reader = Pipeline(token_of("ada"))
    assert reader.get("batches/nightly").status_code == 200
    assert reader.send("PATCH", "batches/nightly", {"limit": 1}).status_code == 403
    assert reader.send("PATCH", "batches/nightly", {"remove": ["cats"]}).status_code == 403
    assert reader.send("DELETE", "batches/nightly").status_code == 403
    assert Batch.objects.get().limit == 2
    Dataset.objects.filter(dataset_id="cats").update(owner=User.objects.get(username="ada"))
    assert reader.send("PATCH", "batches/nightly", {"remove": ["cats"]}).status_code == 200


def test_a_batch_of_hidden_datasets_is_unknown(nightly: Pipeline, client: Client) -> None:
    Dataset.objects.update(visibility="private")
    for path in ("batches/nightly", "batches/nightly/progress", "batches/nightly/datasets", "batches/none/progress"):
        response = client.get(f"/api/{path}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), path
    assert client.get("/api/batches").json()["batches"] == []
    Dataset.objects.filter(dataset_id="dogs").update(visibility="public")
    assert client.get("/api/batches/nightly/progress").json()["total"] == 1
    assert client.get("/api/batches").json()["batches"][0]["datasets"] == 1


def test_unchanged_progress_is_304(nightly: Pipeline) -> None:
    first = nightly.get("batches/nightly/progress")
    etag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "no-cache"
    again = nightly.get("batches/nightly/progress", **{"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    for method, path, body in [
        ("POST", "datasets/cats/progress", {"current": 60}), ("PATCH", "batches/nightly", {"limit": 5}),
        ("PATCH", "batches/nightly", {"remove": ["dogs"]}),
    ]:  # fmt: skip
        assert nightly.send(method, path, body).status_code == 200
        response = nightly.get("batches/nightly/progress", **{"If-None-Match": etag})
        assert response.status_code == 200
        etag = response.headers["ETag"]
    Run.objects.filter(dataset__dataset_id="cats").update(heartbeat_at="2020-01-01T00:00:00Z")  # it is lost
    lost = nightly.get("batches/nightly/progress", **{"If-None-Match": etag})
    assert (lost.status_code, lost.json()["groups"]["attention"]) == (200, 1)
    assert nightly.send("HEAD", "batches/nightly/progress").status_code == 200


def test_all_datasets_are_steered(nightly: Pipeline) -> None:
    results = nightly.post("batches/nightly/control", {"action": "pause"}).json()["results"]
    assert [(one["dataset_id"], one["status"]) for one in results] == [("cats", 200), ("dogs", 409)]
    assert nightly.report("cats", current=51).json()["control"] == "pause"
    assert nightly.post("batches/nightly/control", {"action": "dance"}).status_code == 422
    assert nightly.post("batches/none/control", {"action": "pause"}).status_code == 404
    assert Pipeline("").post("batches/nightly/control", {"action": "pause"}).status_code == 401


def test_a_reporter_names_the_batch_of_its_dataset(pipeline: Pipeline, token_of: Callable[..., str]) -> None:
    assert pipeline.report("cats", current=1, batch="nightly").status_code == 200
    assert pipeline.post("datasets/dogs/runs", {"batch": "nightly"}).status_code == 201
    assert pipeline.get("batches/nightly/progress").json()["total"] == 2
    ada = Pipeline(token_of("ada"))
    refused = ada.report("birds", current=1, batch="nightly")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert not Dataset.objects.filter(dataset_id="birds").exists()  # nothing was changed
    assert ada.report("birds", current=1, batch="no id").status_code == 422


def test_each_of_many_updates_names_a_batch(pipeline: Pipeline) -> None:
    updates = [
        {"dataset_id": "cats", "current": 1, "batch": "nightly"}, {"dataset_id": "dogs", "current": 1},
        {"dataset_id": "birds", "current": 1, "batch": "weekly"},
        {"dataset_id": "cats", "current": 2, "batch": "weekly"},
        {"dataset_id": "mice", "batch": "empty"},
    ]  # fmt: skip
    for _ in range(2):
        results = pipeline.post("progress", {"updates": updates}).json()["results"]
        assert [one["status"] for one in results] == [200, 200, 200, 200, 404]
    members = {batch.batch_id: {one.dataset_id for one in batch.datasets.all()} for batch in Batch.objects.all()}
    assert members == {"nightly": {"cats"}, "weekly": {"birds", "cats"}}


def test_updates_that_a_batch_refuses_change_nothing_and_sink_no_others(
    pipeline: Pipeline, token_of: Callable[..., str]
) -> None:
    assert pipeline.post("batches", {"batch_id": "theirs"}).status_code == 201
    updates = [
        {"dataset_id": "cats", "current": 1, "batch": "theirs"}, {"dataset_id": "dogs", "current": 7, "batch": "mine"},
        {"dataset_id": "dogs", "current": 9, "batch": "theirs"}, {"dataset_id": "dogs", "batch": "no id"},
    ]  # fmt: skip
    ada = Pipeline(token_of("ada"))
    results = ada.post("progress", {"updates": updates}).json()["results"]
    assert [(one["status"], one.get("code")) for one in results] == [
        (403, "forbidden"), (200, None), (403, "forbidden"), (422, "invalid"),
    ]  # fmt: skip
    assert list(Dataset.objects.values_list("dataset_id", flat=True)) == ["dogs"]
    assert ada.get("datasets/dogs/progress").json()["current"] == 7
    assert not Batch.objects.get(batch_id="theirs").datasets.exists()


def test_one_request_names_a_bounded_number_of_batches(pipeline: Pipeline) -> None:
    updates = [{"dataset_id": f"d{number}", "current": 1, "batch": f"b{number}"} for number in range(MAX_BATCHES + 2)]
    results = pipeline.post("progress", {"updates": updates}).json()["results"]
    assert [one["status"] for one in results] == [200] * MAX_BATCHES + [422] * 2
    assert results[-1]["errors"][0]["path"] == "batch"
    assert (Batch.objects.count(), Dataset.objects.count()) == (MAX_BATCHES, MAX_BATCHES)
