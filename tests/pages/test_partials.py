"""The header partial and the bar partial: when they poll, when they are still, what an unchanged version costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from apps.progress.selectors import progress_of

RunIn = Callable[..., Run]


def header(dataset_id: str) -> str:
    return reverse("progress-header", args=[dataset_id])


def bar(dataset_id: str) -> str:
    return reverse("progress-bar", args=[dataset_id])


def version(dataset: Dataset) -> int:
    return progress_of(dataset.pk).version


def shown(dataset: Dataset) -> dict[str, str | int]:
    """What a page that shows the dataset as it is says of it."""
    progress = progress_of(dataset.pk)
    return {"v": progress.version, "epoch": progress.epoch}


@pytest.mark.parametrize("state", ["pending", "indexing", "embedding"])
def test_the_header_polls_while_unfinished(client: Client, public: Dataset, run_in: RunIn, state: str) -> None:
    run_in(public, state)
    html = client.get(header(public.dataset_id)).text
    assert 'hx-trigger="every 3s"' in html
    query = shown(public) | {"health": "" if state == "pending" else "live"}
    assert f'hx-get="{header(public.dataset_id)}?{urlencode(query).replace("&", "&amp;")}"' in html
    assert 'hx-swap="outerHTML"' in html
    assert ("dataset-progress-compact" in html) is (state != "pending")


def test_the_header_of_a_dataset_that_never_ran_is_empty_and_polls(client: Client, public: Dataset) -> None:
    html = client.get(header(public.dataset_id)).text
    assert 'hx-trigger="every 3s"' in html
    assert "dataset-progress-compact" not in html


@pytest.mark.parametrize("state", ["ready", "error"])
def test_the_header_stops_polling_when_finished(client: Client, public: Dataset, run_in: RunIn, state: str) -> None:
    run_in(public, state)
    html = client.get(header(public.dataset_id)).text
    assert 'id="progress-header"' in html
    assert "hx-trigger" not in html
    assert "hx-get" not in html
    assert ("dataset-progress-compact" in html) is (state == "error")


def test_an_unchanged_version_is_answered_by_one_query_and_no_rendering(
    client: Client, public: Dataset, run_in: RunIn, django_assert_num_queries: Any
) -> None:
    run_in(public, "indexing")
    same = shown(public)
    for address in (header(public.dataset_id), bar(public.dataset_id)):
        with django_assert_num_queries(1):
            response = client.get(address, same)
        assert response.status_code == 204
        assert response.content == b""
        assert response.headers["Cache-Control"] == "no-store"


def test_nothing_is_left_behind_by_a_swap(client: Client, public: Dataset, run_in: RunIn) -> None:
    run_in(public, "indexing")
    for address in (header(public.dataset_id), bar(public.dataset_id), f"{bar(public.dataset_id)}?run=0"):
        html = client.get(address).text
        assert html == html.strip()
    assert '</div><div id="progress-header"' in html


def test_another_version_is_rendered(
    client: Client, public: Dataset, run_in: RunIn, django_assert_num_queries: Any
) -> None:
    run = run_in(public, "indexing")
    old = shown(public)
    services.report(run.pk, current=46)
    for address, query in (
        (header(public.dataset_id), old),
        (bar(public.dataset_id), old),
        (bar(public.dataset_id), {"v": "garbage"}),
        (bar(public.dataset_id), shown(public) | {"epoch": "another"}),
        (header(public.dataset_id), shown(public) | {"epoch": "another"}),
    ):
        with django_assert_num_queries(1):
            response = client.get(address, query)
        assert response.status_code == 200
        assert f'data-version="{version(public)}"' in response.text
        assert "46%" in response.text


def test_the_bar_is_the_whole_panel(client: Client, public: Dataset, run_in: RunIn) -> None:
    run_in(public, "embedding")
    html = client.get(bar(public.dataset_id)).text
    assert 'id="dataset-live"' in html
    assert "hx-swap-oob" not in html
    assert "45% (45/100)" in html
    assert "Generating embeddings" in html  # the stage in the list of stages


def test_health_that_changed_by_itself_is_rendered(client: Client, public: Dataset, run_in: RunIn) -> None:
    run = run_in(public, "indexing")
    query = shown(public) | {"health": "live"}
    assert client.get(bar(public.dataset_id), query).status_code == 204
    long_ago = timezone.now() - timedelta(minutes=3)
    Run.objects.filter(pk=run.pk).update(progressed_at=long_ago, updated_at=long_ago)
    response = client.get(bar(public.dataset_id), query)
    assert response.status_code == 200
    assert 'data-health="stalled"' in response.text
    assert ">3 minutes</time>" in response.text
    # For how long changes from one look to the next.
    query["health"] = "stalled"
    assert client.get(bar(public.dataset_id), query).status_code == 200


@pytest.mark.parametrize(
    ("silent", "health", "word"), [("progressed_at", "stalled", "No progress"), ("heartbeat_at", "lost", "No contact")]
)
def test_the_header_shows_health_as_the_panel_does(
    client: Client, public: Dataset, run_in: RunIn, silent: str, health: str, word: str
) -> None:
    run = run_in(public, "indexing")
    query = shown(public) | {"health": "live"}
    assert client.get(header(public.dataset_id), query).status_code == 204
    Run.objects.filter(pk=run.pk).update(**{silent: timezone.now() - timedelta(minutes=3)})
    html = client.get(header(public.dataset_id), query).text
    assert f">{word}</p>" in html
    assert "animate-shimmer" not in html
    assert f"&amp;health={health}" in html
    query["health"] = health
    assert client.get(header(public.dataset_id), query).status_code == 204


def test_silence_is_told_from_the_last_sign_of_life(client: Client, public: Dataset, run_in: RunIn) -> None:
    run = run_in(public, "indexing")
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        updated_at=now - timedelta(minutes=30), progressed_at=now - timedelta(minutes=20),
        heartbeat_at=now - timedelta(minutes=5),
    )  # fmt: skip
    assert "No contact for" in (html := client.get(bar(public.dataset_id)).text)
    assert ">5 minutes</time>" in html
    Run.objects.filter(pk=run.pk).update(heartbeat_at=now)
    assert "on this item for" in (html := client.get(bar(public.dataset_id)).text)
    assert ">20 minutes</time>" in html


def test_a_new_run_brings_the_header_back(client: Client, public: Dataset, run_in: RunIn) -> None:
    run_in(public, "ready")
    query = shown(public) | {"run": 1, "health": ""}
    assert client.get(bar(public.dataset_id), query).status_code == 204
    run_in(public, "pending")
    html = client.get(bar(public.dataset_id), query).text
    assert 'id="progress-header"' in html
    assert 'hx-swap-oob="true"' in html
    assert 'hx-trigger="every 3s"' in html
    query["run"] = 2
    assert 'id="progress-header"' not in client.get(bar(public.dataset_id), query).text


def test_what_is_pushed_finds_its_place_by_itself(public: Dataset, run_in: RunIn) -> None:
    run_in(public, "indexing")
    progress = progress_of(public.pk)
    html = render_to_string("components/live.html", {"progress": progress})
    assert html.count('hx-swap-oob="true"') == 1
    assert 'id="dataset-live"' in html
    new_run = render_to_string("components/live_header.html", {"progress": progress})
    assert 'id="progress-header"' in new_run
    assert 'hx-swap-oob="true"' in new_run


@pytest.mark.parametrize("address", [header, bar])
def test_an_invisible_dataset_is_an_unknown_one(
    as_user: Callable[[User | None], Client],
    private: Dataset,
    stranger: User,
    owner: User,
    staff: User,
    address: Callable[[str], str],
) -> None:
    assert as_user(None).get(address(private.dataset_id)).status_code == 404
    assert as_user(stranger).get(address(private.dataset_id)).status_code == 404
    assert as_user(stranger).get(address("no-such-dataset")).status_code == 404
    assert as_user(owner).get(address(private.dataset_id)).status_code == 200
    assert as_user(staff).get(address(private.dataset_id)).status_code == 200


def test_partials_are_read_only(client: Client, public: Dataset) -> None:
    assert client.post(header(public.dataset_id)).status_code == 405
    assert client.post(bar(public.dataset_id)).status_code == 405
