"""The admin's lists and pages of datasets and runs: health, filters, actions, bounded inlines, and 100,000 rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.batches.models import Batch
from apps.core.paginator import MOST_COUNTED
from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.admin.inlines import MOST
from apps.progress.models import ItemFailure, Run, Transition
from apps.progress.reports import Report, accept_reports

from .conftest import INDEX
from .helpers import heard_of, say

pytestmark = pytest.mark.django_db

DATASETS, RUNS = "/admin/datasets/dataset/", "/admin/progress/run/"


def made(name: str, owner: User | None = None) -> Dataset:
    return Dataset.objects.create(dataset_id=name, owner=owner, visibility="public")


def working(name: str, owner: User | None = None) -> Run:
    dataset = made(name, owner)
    say(dataset, state="indexing", current=45, total=100)
    return Run.objects.get(dataset=dataset)


def found(client: Client, address: str, **params: str) -> set[str]:
    """The ids of the datasets that a list shows."""
    rows = client.get(address, params).context["cl"].result_list
    return {getattr(row, "dataset", row).dataset_id for row in rows}


@pytest.mark.parametrize("address", [DATASETS, RUNS])
def test_health_is_shown_and_filtered_by(admin_client: Client, address: str) -> None:
    working("live")
    heard_of(working("lost"), seconds_ago=3600)
    stalled = working("stalled")
    Run.objects.filter(pk=stalled.pk).update(progressed_at=timezone.now() - timedelta(hours=1))
    services.finish(working("ready").pk)
    page = admin_client.get(address).text
    for health, words in (("live", "Live"), ("stalled", "No progress"), ("lost", "No contact")):
        assert found(admin_client, address, health=health) == {health}
        assert f'field-health">{words}<' in page
    assert found(admin_client, address, health="slow") == set()
    assert found(admin_client, address, health="nonsense") == {"live", "lost", "stalled", "ready"}


def test_datasets_are_filtered_by_the_state_of_their_latest_run(admin_client: Client) -> None:
    made("new")
    services.finish(working("done").pk)
    working("busy")
    assert found(admin_client, DATASETS, state="pending") == {"new"}
    assert found(admin_client, DATASETS, state="ready") == {"done"}
    assert found(admin_client, DATASETS, state="indexing") == {"busy"}


@pytest.mark.parametrize("address", [DATASETS, RUNS])
def test_they_are_filtered_by_owner_and_keep_the_other_filters(admin_client: Client, address: str) -> None:
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    working("anns", ann)
    working("bobs", bob)
    assert found(admin_client, address, owner="ann") == {"anns"}
    assert found(admin_client, address, owner="nobody") == set()
    page = admin_client.get(address, {"owner": "ann", "q": "anns", "health": "live"}).text
    form = page.split('class="text-filter"')[1].split("</form>")[0]
    for field in ('name="q" value="anns"', 'name="health" value="live"'):
        assert field in form
    assert 'value="ann"' in form


@pytest.mark.parametrize("address", [DATASETS, RUNS])
def test_they_are_filtered_by_batch_each_row_once(admin_client: Client, address: str) -> None:
    cats, dogs = working("cats").dataset, working("dogs").dataset
    for name in ("nightly", "weekly"):
        Batch.objects.create(batch_id=name).datasets.add(cats)
    Batch.objects.get(batch_id="weekly").datasets.add(dogs)
    rows = admin_client.get(address, {"batch": "weekly"}).context["cl"].result_list
    assert sorted(getattr(row, "dataset", row).dataset_id for row in rows) == ["cats", "dogs"]
    assert found(admin_client, address, batch="nightly", owner="nobody") == set()
    assert found(admin_client, address, batch="nightly") == {"cats"}
    assert found(admin_client, address, batch="week") == set()


@pytest.mark.parametrize("address", [DATASETS, RUNS])
def test_each_row_leads_to_its_page(admin_client: Client, client: Client, address: str) -> None:
    run = working("cats")
    page = admin_client.get(address).text
    target = "/datasets/cats/" if address == DATASETS else "/datasets/cats/runs/1/"
    assert f'<a href="{target}">Open</a>' in page
    assert client.get(target).status_code == 200
    change = f"{address}{run.dataset_id if address == DATASETS else run.pk}/change/"
    assert "View on site" in admin_client.get(change).text


def test_an_id_that_is_taken_is_refused_at_its_field(admin_client: Client) -> None:
    made("cats")
    form = {"dataset_id": "cats", "name": "", "visibility": "private", "owner": ""}
    answer = admin_client.post(f"{DATASETS}add/", form)
    assert answer.context["adminform"].form.errors == {"dataset_id": ["Dataset with this ID already exists."]}


def test_datasets_are_steered_from_their_list(admin_client: Client) -> None:
    run, never = working("cats"), made("never")
    response = admin_client.post(
        DATASETS, {"action": "pause", "_selected_action": [run.dataset_id, never.pk]}, follow=True
    )
    told = {str(message) for message in response.context["messages"]}
    assert told == {"Pausing: cats.", "It has never run: never."}
    run.refresh_from_db()
    assert (run.control, run.control_by) == ("pause", "admin")


def test_a_run_shows_its_stages_workers_events_and_failures_of_each_a_bounded_number(admin_client: Client) -> None:
    dataset = made("cats")
    run = services.begin_run(dataset, [INDEX])
    reports = [Report(worker=f"node-{number}", current=number, total=100) for number in range(MOST + 10)]
    accept_reports([(dataset.pk, report) for report in reports])
    services.record_failures(run.pk, "index", [(f"{number}.jpg", "truncated") for number in range(MOST + 10)])
    Transition.objects.bulk_create(
        Transition(run=run, version=1, old="run", new="pause", note=f"event {number}", at=timezone.now())
        for number in range(MOST + 10)
    )
    address = f"{RUNS}{run.pk}/change/"
    with CaptureQueriesContext(connection) as captured:
        page = admin_client.get(address).text
    for shown, hidden in (("node-0<", f"node-{MOST + 9}<"), (f"event {MOST + 9}<", "event 0<"), ("59.jpg", "0000.jpg")):
        assert shown in page
        assert hidden not in page
    assert page.count("truncated") <= 2 * MOST + 2
    assert len(captured) <= 20
    assert ItemFailure.objects.count() == MOST + 10


def test_a_list_of_100_000_runs_counts_and_reads_a_bounded_part_of_them(admin_client: Client) -> None:
    run = services.finish(working("d0").pk)
    Batch.objects.create(batch_id="nightly").datasets.add(run.dataset)
    columns = [str(field.column) for field in Run._meta.concrete_fields if field.column not in ("id", "number")]
    into, out_of = ", ".join(["number", *columns]), ", ".join(["number + %s", *columns])
    with connection.cursor() as cursor:  # each of the first statements doubles them
        for offset in (*(2**power for power in range(13)), *(2**13 * times for times in range(1, 13))):
            cursor.execute(
                f"INSERT INTO progress_run ({into}) SELECT {out_of} FROM progress_run WHERE number <= %s",
                [offset, 2**13],
            )
    assert Run.objects.filter(dataset=run.dataset_id).count() >= 100_000
    admin_client.get(RUNS)
    narrowed: list[dict[str, str]] = [{}, {"state__exact": "ready"}, {"owner": "nobody"}, {"q": "d0"}, {"p": "3"}]
    narrowed += [{"batch": "nightly"}, {"batch": "none"}]
    for params in narrowed:
        with CaptureQueriesContext(connection) as captured:
            response = admin_client.get(RUNS, params)
        changelist = response.context["cl"]
        assert len(changelist.result_list) <= 100
        assert changelist.result_count <= MOST_COUNTED
        assert len(captured) <= 12
        of_runs = [query["sql"] for query in captured if 'FROM "progress_run"' in query["sql"]]
        assert of_runs
        # Django reads all rows where the count, which is bounded, has found that they fit on one page.
        fit = changelist.result_count <= changelist.list_max_show_all
        assert all("LIMIT" in sql for sql in of_runs if "COUNT" in sql or not fit), of_runs
