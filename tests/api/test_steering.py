"""Many datasets are steered with one request, and failed items are listed for whoever retries them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from apps.api.failures import ROWS_OF_CSV
from apps.datasets.models import Dataset
from apps.progress.models import ItemFailure, Run, Transition

from .conftest import Pipeline


def steer(pipeline: Pipeline, action: str, *ids: str, **more: Any) -> dict[str, tuple[int, bool, str | None]]:
    response = pipeline.post("control", {"action": action, "datasets": ids, **more})
    assert response.status_code == 200, response.content
    return {one["dataset_id"]: (one["status"], one["changed"], one["code"]) for one in response.json()["results"]}


def test_each_dataset_has_a_result_of_its_own(pipeline: Pipeline, token_of: Callable[..., str]) -> None:
    mine = Pipeline(token_of("ada"))
    for name in ("one", "two", "done", "never"):
        mine.report(name, current=1)
    mine.report("done", state="ready")
    Run.objects.filter(dataset__dataset_id="never").delete()
    pipeline.report("other", current=1)
    Dataset.objects.filter(dataset_id="other").update(visibility="private")
    expected = {
        "two": (200, True, None), "one": (200, True, None), "done": (409, False, "no_run"),
        "never": (409, False, "no_run"), "other": (404, False, "not_found"), "no\0id": (404, False, "not_found"),
    }  # fmt: skip
    assert steer(mine, "pause", *expected) == expected
    assert list(steer(mine, "pause", *expected)) == list(expected)
    assert steer(mine, "pause", "one", "one") == {"one": (200, False, None)}
    assert mine.report("one").json()["control"] == "pause"
    assert Transition.objects.get(run__dataset__dataset_id="one", new="pause").note == "token test"


@pytest.mark.parametrize(
    ("role", "status"), [("view", 403), ("report", 403), ("steer", 200), ("", 404)], ids=str
)  # of a member of a private dataset; empty: none
def test_what_a_member_may_do(pipeline: Pipeline, token_of: Callable[..., str], role: str, status: int) -> None:
    pipeline.report("cats", current=1)
    dataset = Dataset.objects.get()
    Dataset.objects.update(visibility="private")
    member = Pipeline(token_of("ada"))
    if role:
        dataset.members.add(User.objects.get(username="ada"), through_defaults={"role": role})
    assert steer(member, "pause", "cats")["cats"][0] == status
    assert member.post("datasets/cats/control", {"action": "pause"}).status_code == status
    assert Run.objects.get().control == ("pause" if status == 200 else "run")


def test_a_run_that_does_not_obey_is_ended(pipeline: Pipeline) -> None:
    pipeline.report("cats", current=1)
    assert steer(pipeline, "end", "cats")["cats"] == (409, False, "not_asked")
    steer(pipeline, "cancel", "cats")
    assert steer(pipeline, "end", "cats")["cats"] == (409, False, "too_early")
    assert steer(pipeline, "pause", "cats")["cats"] == (409, False, "cancelling")
    Run.objects.update(control_at=timezone.now() - timedelta(seconds=16))
    assert pipeline.post("datasets/cats/control", {"action": "end"}).json()["cancelled"] is True
    assert pipeline.report("cats", current=2, run=1).json()["code"] == "run_finished"


def test_a_retry_is_read_by_the_next_run(pipeline: Pipeline) -> None:
    pipeline.report("cats", current=2, failures=[{"item": "a.jpg", "reason": "bad"}])
    assert steer(pipeline, "retry", "cats")["cats"] == (409, False, "run_unfinished")
    assert pipeline.report("cats", state="ready").json()["progress"]["retry"] is None
    assert steer(pipeline, "retry", "cats", only_failed=True)["cats"] == (200, True, None)
    assert pipeline.get("datasets/cats/progress").json()["retry"] == "failed"
    assert pipeline.get("datasets/cats/failures").json()["failures"][0]["item"] == "a.jpg"
    assert pipeline.post("datasets/cats/runs", {}).json()["retry"] == "failed"
    assert pipeline.get("datasets/cats/progress").json()["retry"] is None
    pipeline.report("cats", state="ready")
    assert steer(pipeline, "retry", "cats", only_failed=True)["cats"] == (409, False, "nothing_failed")


@pytest.mark.parametrize(
    "body",
    [
        {"action": "pause"}, {"action": "pause", "datasets": []}, {"action": "explode", "datasets": ["cats"]},
        {"action": "pause", "only_failed": True, "datasets": ["cats"]}, {"action": "pause", "datasets": ["x"] * 1001},
        {"action": "pause", "datasets": [1]},
    ],
    ids=lambda body: str(body)[:50],
)  # fmt: skip
def test_what_cannot_be_asked(pipeline: Pipeline, body: Any) -> None:
    assert pipeline.post("control", body).status_code == 422


# --- Failed items ---------------------------------------------------------------------------------------------------


@pytest.fixture
def failed(pipeline: Pipeline) -> Pipeline:
    failures = [{"item": f"{number:02}.jpg", "reason": "odd" if number % 2 else 'even, "so"'} for number in range(10)]
    pipeline.report("cats", stage="index", current=10, failures=failures)
    pipeline.report("cats", stage="embed", current=1, failures=[{"item": "00.jpg", "reason": "NaN"}])
    return pipeline


def test_failures_are_paged_and_searched(failed: Pipeline) -> None:
    path, seen = "datasets/cats/runs/1/failures?limit=4", []
    query: str | None = ""
    while query is not None:
        page = failed.get(path + query).json()
        seen += [row["item"] for row in page["failures"]]
        query = f"&after={page['next']}" if page["next"] else None
    assert seen == [*(f"{number:02}.jpg" for number in range(10)), "00.jpg"]
    assert len(failed.get("datasets/cats/failures?search=ODD").json()["failures"]) == 5
    assert len(failed.get("datasets/cats/failures?search=00.j").json()["failures"]) == 2
    assert len(failed.get("datasets/cats/failures?search=00.j&stage=embed").json()["failures"]) == 1
    assert failed.get("datasets/cats/failures?search=%00%00").json()["run"] == 1
    assert failed.get("datasets/cats/runs/2/failures").status_code == 404


def test_failures_as_csv(failed: Pipeline) -> None:
    response = failed.get("datasets/cats/failures?format=csv&search=0")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(response.text.splitlines()))
    assert [(row["item"], row["reason"], row["stage"]) for row in rows][:2] == [
        ("00.jpg", 'even, "so"', "index"),
        ("01.jpg", "odd", "index"),
    ]


def test_what_follows_of_a_csv_is_searched_as_before(pipeline: Pipeline) -> None:
    pipeline.report("cats", current=1)
    run, now = Run.objects.get(), timezone.now()
    numbers = range(ROWS_OF_CSV + 1)
    rows = [ItemFailure(run=run, stage="index", item=f"a&{number}", reason="odd", at=now) for number in numbers]
    rows.append(ItemFailure(run=run, stage="index", item="other", reason="", at=now))
    ItemFailure.objects.bulk_create(rows, batch_size=2000)
    path = "datasets/cats/failures"
    first = pipeline.get(f"{path}?format=csv&search=a%26&stage=index")
    link = re.fullmatch(r'<(\S+)>; rel="next"', first.headers["Link"])
    assert link is not None
    last = pipeline.get(path + link[1])
    assert [row["item"] for row in csv.DictReader(last.text.splitlines())] == [f"a&{ROWS_OF_CSV}"]
    assert "Link" not in last.headers


def test_failures_beyond_the_list_are_counted(pipeline: Pipeline, settings: Any) -> None:
    settings.MOST_FAILURES = 1
    pipeline.report("cats", stage="index", failures=[{"item": item, "reason": "bad"} for item in "abc"])
    page = pipeline.get("datasets/cats/failures").json()
    assert page["unlisted"] == [{"stage": "index", "reason": "bad", "count": 2}]
    assert [row["item"] for row in page["failures"]] == ["a"]


def test_failures_of_a_hidden_dataset_are_hidden(failed: Pipeline) -> None:
    Dataset.objects.update(visibility="private")
    assert Pipeline("").get("datasets/cats/failures").status_code == 404
    assert Pipeline("").get("datasets/cats/runs/1/failures").status_code == 404
