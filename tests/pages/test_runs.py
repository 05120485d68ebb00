"""The page of a run: who may see what, what it tells, its chart, its events and its export."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.datasets.models import Dataset
from apps.pages.runs.chart import HEIGHT, WIDTH, chart_of, curve_of, pauses_of
from apps.progress import services
from apps.progress.models import Run, Stage
from apps.progress.origin import Origin
from apps.progress.services import StagePlan

from .test_components import words_of

As = Callable[[User | None], Client]
T0 = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def address(run: Run) -> str:
    return reverse("run", args=[run.dataset.dataset_id, run.number])


@pytest.fixture
def failed(public: Dataset) -> Run:
    """A run by olga's laptop that was paused and resumed, and failed with a traceback."""
    origin = Origin("token laptop", "gpu-07", 4711, "dataset-progress 0.1.0", "3.12.1", "https://jobs.example/7")
    run = services.begin_run(public, [StagePlan("load", "Loading", unit="files", total=10)], origin=origin)
    services.start_stage(run.pk, "load", message="Opening the archive")
    services.report(run.pk, current=4)
    services.request_pause(run.pk, "olga")
    services.acknowledge(run.pk)
    services.request_resume(run.pk, "olga")
    services.record_failures(run.pk, "load", [("a.jpg", "truncated"), ("=cmd()", "not a picture")])
    return services.fail(run.pk, "CUDA out of memory\n  File <x>", note="/secret/path")


def test_run_page_answers_who_when_and_why(as_user: As, owner: User, failed: Run) -> None:
    html = as_user(owner).get(address(failed)).text
    text = words_of(html)
    assert "Run 1: Failed after" in text
    assert "by token “laptop” on gpu-07" in text
    assert 'href="https://jobs.example/7"' in html
    assert "dataset-progress 0.1.0, Python 3.12.1, process 4711" in text
    for event in ("Queued by token “laptop”", "Started", "Loading began", "Paused by olga", "Resumed by olga",
                  "Failed: CUDA out of memory /secret/path", "Opening the archive"):  # fmt: skip
        assert event in text
    assert text.index("Queued by") < text.index("Started", text.index("Queued by")) < text.index("Loading began")
    assert text.index("Paused by olga") < text.index("Resumed by olga") < text.index("Failed: CUDA")
    assert "4 / 10 files" in text
    assert "a.jpg" in text


def test_who_and_where_is_for_those_who_steer(as_user: As, stranger: User, failed: Run) -> None:
    for user in (stranger, None):
        html = as_user(user).get(address(failed)).text
        assert "Paused" in html
        for told in ("olga", "laptop", "gpu-07", "4711", "jobs.example", "/secret"):
            assert told not in html
        for kind in ("json", "csv"):
            exported = as_user(user).get(reverse("run-export", args=["open-1", 1, kind])).text
            assert not any(told in exported for told in ("olga", "laptop", "gpu-07", "4711", "jobs.example", "/secret"))


def test_run_of_a_private_dataset_is_unknown_to_others(as_user: As, stranger: User, private: Dataset) -> None:
    run = services.begin_run(private)
    addresses = [address(run), *(reverse("run-export", args=["shut.1", 1, kind]) for kind in ("json", "csv"))]
    for user in (stranger, None):
        assert [as_user(user).get(each).status_code for each in addresses] == [404, 404, 404]


@pytest.mark.parametrize("path", ["runs/2/", "runs/0/", "runs/999999999999/", "runs/1/run.xml", "runs/x/"])
def test_run_that_there_is_not(client: Client, failed: Run, path: str) -> None:
    assert client.get(f"/datasets/open-1/{path}").status_code == 404


def test_runs_are_linked_and_compared(client: Client, failed: Run) -> None:
    for _ in range(4):
        run = services.begin_run(failed.dataset, [StagePlan("load", "Loading", unit="files", total=3)])
        services.start_stage(run.pk, "load")
        services.report(run.pk, current=3)
        services.finish(run.pk)
    html = client.get(reverse("run", args=["open-1", 3])).text
    assert f'href="{reverse("run", args=["open-1", 2])}"' in html
    assert f'href="{reverse("run", args=["open-1", 4])}"' in html
    compared = words_of(html[html.index('id="compared-title"') :])
    assert [compared.count(f"Run {number}") for number in (1, 2, 4, 5)] == [1, 1, 0, 0]
    assert "Run 1 Failed" in compared
    assert "3 files" in compared


def test_open_run_has_the_live_panel(client: Client, public: Dataset) -> None:
    run = services.begin_run(public, [StagePlan("load", total=10)])
    services.start_stage(run.pk, "load")
    assert 'id="dataset-live"' in client.get(address(run)).text
    services.finish(run.pk)
    assert 'id="dataset-live"' not in client.get(address(run)).text


def test_page_of_a_run_takes_as_many_queries_for_many_events(
    client: Client, failed: Run, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(22):
        client.get(address(failed))
    run = services.begin_run(failed.dataset, [StagePlan(f"s{n}", total=9) for n in range(30)])
    for n in range(30):
        services.start_stage(run.pk, f"s{n}", message=f"stage {n}")
    services.finish(run.pk)
    with django_assert_max_num_queries(22):
        client.get(address(run))


def test_export_as_json_has_all_of_it(as_user: As, owner: User, failed: Run) -> None:
    response = as_user(owner).get(reverse("run-export", args=["open-1", 1, "json"]))
    assert response.headers["Content-Disposition"] == 'attachment; filename="open-1-run-1.json"'
    told = response.json()
    assert (told["result"], told["started_by"], told["origin"]["host"]) == ("failed", "token laptop", "gpu-07")
    assert [stage["current"] for stage in told["stages"]] == [4]
    assert {failure["item"] for failure in told["failures"]} == {"a.jpg", "=cmd()"}
    assert "Paused by olga" in [event["text"] for event in told["events"]]
    assert [message["text"] for message in told["messages"]] == ["Opening the archive"]


def test_export_as_csv_runs_nothing_in_a_spreadsheet(as_user: As, owner: User, failed: Run) -> None:
    response = as_user(owner).get(reverse("run-export", args=["open-1", 1, "csv"]))
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert {row["kind"] for row in rows} == {"run", "stage", "reading", "event", "message", "failure"}
    assert {row["name"] for row in rows if row["kind"] == "failure"} == {"a.jpg", "'=cmd()"}


# --- The chart --------------------------------------------------------------------------------------------------------


def stage(*readings: tuple[float, int], name: str = "load", start: float = 0.0, end: float | None = None) -> Stage:
    return Stage(
        name=name, counts_as="indexing", unit="files", current=readings[-1][1], readings=list(readings),
        started_at=T0 + timedelta(seconds=start), finished_at=None if end is None else T0 + timedelta(seconds=end),
    )  # fmt: skip


def test_rates_stand_where_they_were() -> None:
    curve = curve_of(stage((0, 0), (10, 100), (20, 120), start=5), "Loading", T0, 25, [])
    assert curve.points == ((5, 10.0), (15, 10.0), (25, 2.0))
    assert (curve.peak, curve.mean) == (10.0, 6.0)


def test_pause_is_rest_on_the_axis() -> None:
    changes = [("run", "pause", T0 + timedelta(seconds=10)), ("pause", "run", T0 + timedelta(seconds=40))]
    pauses = pauses_of(changes, T0, 60)
    assert pauses == [(10, 40)]
    curve = curve_of(stage((0, 0), (10, 100), (20, 200)), "Loading", T0, 60, pauses)
    assert curve.points == ((0, 10.0), (10, 10.0), (10, 0.0), (40, 0.0), (50, 10.0))


def test_pause_that_goes_on_ends_with_the_run() -> None:
    assert pauses_of([("run", "pause", T0 + timedelta(seconds=10))], T0, 30) == [(10, 30)]


def test_last_ready_run_shares_axis_and_scale() -> None:
    curves = [curve_of(stage((0, 0), (10, 50)), "Loading", T0, 10, [])]
    behind = [curve_of(stage((0, 0), (20, 200)), "Loading", T0, 20, [])]
    chart = chart_of(curves, 10, behind=behind, behind_seconds=20, behind_number=2, failures=[0, 5, 5, 99])
    assert chart.seconds == 20
    assert chart.areas[0].line == f"M0.0 {HEIGHT * 0.55}L{WIDTH / 2} {HEIGHT * 0.55}"  # half as fast
    assert chart.behind[0].line == f"M0.0 {HEIGHT * 0.1}L{float(WIDTH)} {HEIGHT * 0.1}"
    assert chart.failures == (2.5, 252.5, 997.5)
    assert chart.summary == "Throughput over 0:20. Loading: 5.0 files/s on average, at most 5.0 files/s."
    assert [(row.label, row.lasted, row.items, row.mean) for row in chart.table] == [
        ("Loading", "0:10", 50, "5.0 files/s")
    ]


def test_run_that_never_began_has_no_chart() -> None:
    assert chart_of([], 0).is_empty
