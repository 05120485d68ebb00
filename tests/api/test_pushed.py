"""What sockets and webhooks send is as OpenAPI says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.test import Client
from websockets.sync.client import connect

from apps.batches.models import Batch
from apps.datasets.models import Dataset
from apps.notifications import services as notifications
from apps.notifications.models import Subscription
from apps.progress import services
from apps.progress.models import Run
from tests.batches.conftest import batch_of
from tests.notifications.conftest import Endpoint, deliver, endpoint, loopback  # noqa: F401 -- fixtures
from tests.notifications.test_batch_ends import be_quiet
from tests.processes import web_server
from tests.progress.helpers import say

from .conftest import Pipeline
from .described import check


@pytest.mark.django_db(transaction=True)
def test_sockets_send_what_is_described(run: Run, tmp_path: Path) -> None:
    batch = batch_of(run.dataset)
    one: dict[str, object] = {"batch_id": batch.batch_id}
    commands: list[tuple[str, str, dict[str, object], str]] = [
        ("datasets/cats/progress/ws", "SocketCommand", {"dataset_id": "cats"}, "ProgressUpdate"),
        ("progress/ws", "SocketCommand", {"dataset_ids": ["cats"]}, "ProgressUpdate"),
        (f"batches/{batch.batch_id}/progress/ws", "BatchSocketCommand", one, "BatchProgressUpdate"),
    ]
    with web_server(tmp_path / "log") as server:
        for path, command, named, update in commands:
            with connect(f"{server.socket_url}/api/{path}") as socket:
                for kind in ("unsubscribe", "subscribe"):
                    message = {"type": kind, **named}
                    check(command, message)
                    socket.send(json.dumps(message))
                check(update, json.loads(socket.recv(30)))
                socket.send("no JSON")
                check("SocketError", json.loads(socket.recv(30)))


@pytest.mark.django_db(transaction=True)
def test_webhooks_send_what_is_described(
    dataset: Dataset,
    endpoint: Endpoint,  # noqa: F811 -- a fixture
    loopback: None,  # noqa: F811 -- a fixture
    settings: Any,
) -> None:
    settings.SITE_URL = "https://progress.example.org"
    kinds = ["ready", "failed", "cancelled", "failures"]
    webhook = Subscription(name="hook", channel="webhook", address=endpoint.url, events=kinds)
    notifications.subscribe(webhook)
    batch_of(dataset)
    say(dataset, state="indexing", current=3, total=4, failed=1)
    say(dataset, state="error", error="disk full")
    notifications.send_test(webhook)
    deliver(webhook)
    be_quiet()
    deliver(webhook)
    for _ in range(6):
        say(dataset, state="indexing", current=3, total=4)
        say(dataset, state="ready")
    deliver(webhook)
    webhook.deliveries.update(created_at="2026-01-01T00:00Z", next_at="2026-01-01T00:00Z")
    deliver(webhook)
    names = {"dataset": "DatasetEvent", "batch": "BatchEvent", "digest": "Digest", "test": "TestMessage"}
    sent = [json.loads(received.body) for received in endpoint.received]
    for body in sent:
        check(names[body["type"].partition(".")[0]], body)
    assert {body["type"] for body in sent} >= {"dataset.failures", "dataset.failed", "batch.failed", "test", "digest"}


def test_a_body_with_another_field_is_not_as_described() -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        check("TestMessage", {"type": "test", "timestamp": "2026-01-01T00:00:00Z", "data": {}, "more": 1})


@pytest.mark.django_db
def test_updates_and_their_results_are_as_described(pipeline: Pipeline) -> None:
    updates = [
        {"dataset_id": "cats", "state": "indexing", "current": 1, "total": 2, "batch": "nightly"},
        {"dataset_id": "dogs", "current": 1, "failures": [{"item": "a.png", "reason": "truncated"}], "worker": "w"},
    ]
    check("UpdatesBody", {"updates": updates})
    answer = pipeline.post("progress", {"updates": [*updates, {"dataset_id": "cats", "current": "one"}]})
    assert answer.status_code == 200
    check("Results", answer.json())
    assert [one["status"] for one in answer.json()["results"]] == [200, 200, 422]
    services.request_pause(Run.objects.get(dataset__dataset_id="cats").pk, "ann")
    answer = pipeline.report("cats", current=2).json()
    check("Reported", answer)
    assert answer["control"] == "pause"
    assert Batch.objects.get().batch_id == "nightly"


def test_the_description_names_all_that_webhooks_send(client: Client) -> None:
    described = client.get("/api/openapi.json").json()
    bodies = [one["post"]["requestBody"]["content"]["application/json"] for one in described["webhooks"].values()]
    named = {body["schema"]["$ref"].rpartition("/")[2] for body in bodies}
    assert named == {"DatasetEvent", "BatchEvent", "Digest", "TestMessage"}
    assert named <= set(described["components"]["schemas"])
