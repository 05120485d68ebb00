"""The tabs of a dataset's page: samples, failed items, runs, code; and the workers that unfold."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

from django.test import Client
from django.utils import timezone

from apps.datasets.models import Dataset, Sample
from apps.progress import services
from apps.progress.models import Run, Stage, WorkerShare
from apps.progress.reports import Report, accept_reports

RunIn = Callable[..., Run]
SamplesIn = Callable[..., list[Sample]]


def test_tabs_are_links_to_what_there_is(client: Client, public: Dataset, run_in: RunIn, samples_in: SamplesIn) -> None:
    def tabs(query: str = "") -> list[str]:
        html = client.get(public.get_absolute_url() + query).text.split('aria-label="Parts of the dataset"')[1]
        links = re.findall(r'<a id="tab-(\w+)"[^>]*?"( aria-current="page")?>', html.split("</nav>")[0])
        return [name.upper() if current else name for name, current in links]

    assert tabs() == ["CODE"]
    assert tabs("?tab=failures") == ["CODE"]
    run = run_in(public, "indexing")
    assert tabs() == ["RUNS", "code"]
    services.record_failures(run.pk, "index", [("a.jpg", "truncated"), ("b.jpg", "empty")])
    assert tabs() == ["FAILURES", "runs", "code"]
    samples_in(public, 1)
    assert tabs() == ["SAMPLES", "failures", "runs", "code"]
    assert tabs("?tab=runs") == ["samples", "failures", "RUNS", "code"]
    assert tabs("?failures_reason=empty") == ["samples", "FAILURES", "runs", "code"]
    assert tabs("?tab=nonsense") == tabs("?damaged") == tabs()


def test_failures_are_searched_and_handed_out(client: Client, public: Dataset, run_in: RunIn) -> None:
    run = run_in(public, "indexing")
    services.record_failures(
        run.pk, "index", [("a.jpg", "truncated"), ("b.jpg", "empty file"), ("c.jpg", "empty file")]
    )
    address = f"{public.get_absolute_url()}?tab=failures"
    html = client.get(address).text
    assert re.search(r">\s*2\s*</span>[^§]*?empty file</a>", html)
    found = client.get(f"{address}&failures_search=B.JPG").text
    assert ("b.jpg" in found, "c.jpg" in found, "a.jpg" in found) == (True, False, False)
    of_reason = client.get(f"{address}&failures_search=jpg&failures_reason=empty+file").text
    assert ("b.jpg" in of_reason, "c.jpg" in of_reason, "a.jpg" in of_reason) == (True, True, False)
    assert "No failed items match." in client.get(f"{address}&failures_search=%25").text
    csv, json = re.findall(r'href="([^"]+/failures\?[^"]+)"', html)
    assert client.get(csv).text.splitlines()[1].startswith("a.jpg,truncated")
    assert len(client.get(json).json()["failures"]) == 3


def test_runs_go_back_page_by_page(client: Client, public: Dataset) -> None:
    for _ in range(25):
        services.finish(services.begin_run(public).pk)
    address = f"{public.get_absolute_url()}?tab=runs"
    first = client.get(address).text
    assert [int(number) for number in re.findall(r'id="run-(\d+)"', first)] == list(range(25, 5, -1))
    older = client.get(public.get_absolute_url() + unescape(re.findall(r'id="runs-older"\s+href="([^"]+)"', first)[0]))
    assert [int(number) for number in re.findall(r'id="run-(\d+)"', older.text)] == list(range(5, 0, -1))
    assert client.get(f"{address}&before=²").status_code == 200


def test_workers_unfold_those_first_who_are_silent(
    client: Client, public: Dataset, private: Dataset, run_in: RunIn
) -> None:
    run = run_in(public, "indexing")
    now = timezone.now()
    for name, current in (("one", 5), ("two", 6), ("three", 9)):
        accept_reports([(public.pk, Report(worker=name, current=current, total=9))])
    WorkerShare.objects.filter(worker="two").update(heard_at=now - timedelta(hours=1))
    Stage.objects.filter(run=run).update(signs=[[int(now.timestamp()) - 3600, 1], [int(now.timestamp()) // 5 * 5, 1]])
    html = client.get(f"{public.get_absolute_url()}workers/").text
    assert re.findall(r"<span class=\"font-mono[^>]*>(\w+)<", html) == ["two", "one", "three"]
    assert re.search(r"two[^§]*?Silent[^§]*?6 / 9[^§]*?1 hour ago", html)
    assert "Done" in html.split("three")[1]
    assert 'hx-trigger="every 3s' in html
    assert "1 silent" in client.get(public.get_absolute_url()).text
    services.finish(run.pk)
    assert "every 3s" not in client.get(f"{public.get_absolute_url()}workers/").text
    assert client.get(f"{private.get_absolute_url()}workers/").status_code == 404
