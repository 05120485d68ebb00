"""Runs and datasets over the API: begun, read, searched, steered and deleted."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.datasets.models import Dataset, Sample
from apps.progress.models import Run

from .conftest import Pipeline

PLAN = [
    {"name": "load", "unit": "files", "total": 200, "weight": 1},
    {"name": "encode", "label": "Encoding", "counts_as": "embedding", "weight": 3},
]


def test_a_run_is_begun_with_its_stages(pipeline: Pipeline) -> None:
    response = pipeline.post("datasets/cats/runs", {"stages": PLAN, "message": "Queued."})
    assert response.status_code == 201, response.content
    told = response.json()
    assert (told["run"], told["state"], told["control"], told["message"]) == (1, "pending", "run", "Queued.")
    assert [(stage["name"], stage["total"], stage["weight"], stage["state"]) for stage in told["stages"]] == [
        ("load", 200, 1.0, "waiting"),
        ("encode", 0, 3.0, "waiting"),
    ]
    assert pipeline.get("datasets/cats/runs/1").json() | {"joined": False} == told
    pipeline.report("cats", stage="encode", current=1, total=2, run=1)
    assert pipeline.get("datasets/cats/progress").json()["stage"]["label"] == "Encoding"


def test_a_run_is_begun_with_where_it_runs(pipeline: Pipeline) -> None:
    origin = {"host": "gpu-07", "process": 4711, "client": "ours 1.0", "python": "3.12.1"}
    body = {"origin": origin, "link": "https://jobs.example/7"}
    assert pipeline.post("datasets/cats/runs", body).status_code == 201
    run = Run.objects.get()
    assert (run.origin, run.link) == (origin, "https://jobs.example/7")
    assert run.started_by.startswith("token ")
    refused = pipeline.post("datasets/dogs/runs", {"link": "javascript:alert(1)"})
    assert refused.status_code == 422


def test_a_retry_with_the_key_is_harmless(pipeline: Pipeline) -> None:
    body = {"stages": PLAN, "idempotency_key": "job-7", "replace": True}
    first = pipeline.post("datasets/cats/runs", body)
    again = pipeline.post("datasets/cats/runs", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert Run.objects.count() == 1


def test_a_second_run_is_refused_or_replaces_the_first(pipeline: Pipeline) -> None:
    pipeline.post("datasets/cats/runs", {})
    response = pipeline.post("datasets/cats/runs", {})
    assert (response.status_code, response.json()["code"]) == (409, "run_unfinished")
    assert pipeline.post("datasets/cats/runs", {"replace": True}).json()["run"] == 2
    assert pipeline.get("datasets/cats/runs/1").json()["cancelled"] is True


def test_programs_share_a_run_until_the_last_has_left(pipeline: Pipeline) -> None:
    first = pipeline.post("datasets/cats/runs", {"join": True, "worker": "a", "stages": PLAN})
    second = pipeline.post("datasets/cats/runs", {"join": True, "worker": "b", "stages": [{"name": "sort"}]})
    assert [(each.status_code, each.json()["run"], each.json()["joined"]) for each in (first, second)] == [
        (201, 1, False),
        (200, 1, True),
    ]
    assert [stage["name"] for stage in second.json()["stages"]] == ["load", "encode", "sort"]
    assert pipeline.report("cats", run=1, worker="a", error="disk full", leave=True).json()["progress"]["error"] is None
    assert pipeline.report("cats", run=1, worker="c", leave=True).json()["code"] == "not_joined"
    assert pipeline.report("cats", run=1, leave=True).status_code == 422
    left = pipeline.report("cats", run=1, worker="b", state="ready", leave=True).json()["progress"]
    assert (left["state"], left["error"]) == ("error", "disk full")


@pytest.mark.parametrize(
    "body",
    [
        {"join": True},
        {"stages": [{"name": "a"}, {"name": "a"}]},
        {"stages": [{"name": "a", "weight": 0}]},
        {"stages": [{"name": "a", "counts_as": "ready"}]},
        {"stages": [{"name": f"s{number}"} for number in range(65)]},
        {"idempotency_key": ""},
        {"replace": "yes"},
    ],
    ids=str,
)
def test_a_run_that_cannot_be(pipeline: Pipeline, body: Any) -> None:
    assert pipeline.post("datasets/cats/runs", body).status_code == 422
    assert not Run.objects.exists()


def test_runs_are_listed_from_the_latest(pipeline: Pipeline) -> None:
    for _ in range(5):
        pipeline.report("cats", state="ready", current=1)
        pipeline.report("cats", state="indexing", current=1)
    first = pipeline.get("datasets/cats/runs?limit=4").json()
    rest = pipeline.get(f"datasets/cats/runs?limit=4&before={first['next']}").json()
    assert [run["run"] for run in first["runs"] + rest["runs"]] == [6, 5, 4, 3, 2, 1]
    assert rest["next"] is None
    assert pipeline.get("datasets/cats/runs/99").status_code == 404


@pytest.mark.parametrize(("action", "control"), [("pause", "pause"), ("cancel", "cancel")])
def test_a_run_is_steered(pipeline: Pipeline, action: str, control: str) -> None:
    assert pipeline.post("datasets/cats/control", {"action": action}).status_code == 404
    pipeline.report("cats", current=1)
    for _ in range(2):
        assert pipeline.post("datasets/cats/control", {"action": action}).json()["control"] == control
    assert pipeline.report("cats", current=2).json()["control"] == control
    pipeline.report("cats", state="error", error="Cancelled.")
    response = pipeline.post("datasets/cats/control", {"action": action})
    assert (response.status_code, response.json()["code"]) == (409, "no_run")


def test_datasets_are_listed_and_searched(pipeline: Pipeline) -> None:
    for number in range(5):
        pipeline.report(f"d{number}", current=number + 1, total=9)
    Dataset.objects.create(dataset_id="never", name="Ran never")
    assert pipeline.report("d3", state="ready").status_code == 200

    def ids(query: str) -> list[str]:
        return [row["dataset_id"] for row in pipeline.get(f"datasets?{query}").json()["datasets"]]

    assert ids("") == ["d0", "d1", "d2", "d3", "d4", "never"]
    assert ids("search=RAN") == ["never"]
    assert ids("state=ready") == ["d3"]
    assert ids("state=pending") == ["never"]
    assert ids("search=%00") == ids("")
    first = pipeline.get("datasets?limit=4").json()
    assert first["next"] == "d3"
    assert ids("limit=4&after=d3") == ["d4", "never"]
    assert first["datasets"][1]["progress"]["current"] == 2
    assert pipeline.get("datasets?limit=0").status_code == 422
    assert pipeline.get("datasets/d1").json() == first["datasets"][1] | {
        "samples": 0,
        "missing": 0,
        "copies": 0,
        "damaged": 0,
        "not_looked_at": {"others": {}, "left_out": {}, "excluded": 0},
    }


def test_a_list_takes_as_many_queries_for_many(pipeline: Pipeline, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        pipeline.report(f"d{number}", current=1)
    with django_assert_max_num_queries(3):  # the token, the datasets, their progress
        assert len(pipeline.get("datasets").json()["datasets"]) == 30


def test_missing_samples_are_counted_and_forgotten(pipeline: Pipeline) -> None:
    dataset = Dataset.objects.create(dataset_id="cats")
    fields = {
        "size": 1, "mtime_ns": 1, "sha256": "0" * 64, "format": "JPEG", "width": 1, "height": 1, "thumbnail_width": 1,
        "thumbnail_height": 1, "seen_in_run": 1,
    }  # fmt: skip
    for path, missing_since in (("a.jpg", None), ("b.jpg", timezone.now()), ("c.jpg", timezone.now())):
        Sample.objects.create(dataset=dataset, path=path, missing_since=missing_since, **fields)
    told = pipeline.get("datasets/cats").json()
    assert (told["dataset_id"], told["samples"], told["missing"]) == ("cats", 1, 2)
    response = pipeline.send("DELETE", "datasets/cats/missing")
    assert (response.status_code, response.json()) == (200, {"forgotten": 2})
    told = pipeline.get("datasets/cats").json()
    assert (told["samples"], told["missing"]) == (1, 0)
    assert pipeline.send("DELETE", "datasets/cats/missing").json() == {"forgotten": 0}
    assert pipeline.send("DELETE", "datasets/dogs/missing").status_code == 404


def test_a_deleted_dataset_is_gone_and_may_be_made_again(pipeline: Pipeline) -> None:
    pipeline.report("cats", worker="w", current=1, failures=[{"item": "a"}])
    assert pipeline.send("DELETE", "datasets/cats").status_code == 204
    for path in ("datasets/cats", "datasets/cats/progress", "datasets/cats/runs"):
        assert pipeline.send("GET", path).status_code == 404
    assert pipeline.send("DELETE", "datasets/cats").status_code == 404
    assert pipeline.send("GET", "datasets").json()["datasets"] == []
    again = pipeline.report("cats", current=2).json()["progress"]
    assert (again["run"], again["version"], again["failed"]) == (1, 1, 0)


def test_a_command_makes_a_token(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_token", "nightly", "--datasets", "team-a-*", "--days", "30")
    team = Pipeline(capsys.readouterr().out.strip())
    assert team.report("team-a-1", current=1).status_code == 200
    assert team.report("team-b-1", current=1).status_code == 403
    call_command("create_token", "page", "--read-only")
    reader = Pipeline(capsys.readouterr().out.strip())
    assert reader.get("datasets/team-a-1/progress").status_code == 200
    assert reader.report("team-a-1", current=2).status_code == 403


@pytest.mark.parametrize(
    "arguments", [["--datasets", "a b?"], ["--days", "0"], ["--user", "nobody"], ["--datasets", "*a"]]
)
def test_a_token_that_cannot_be(db: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("create_token", "x", *arguments)
