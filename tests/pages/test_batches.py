"""The pages of batches: who sees what, what the forms do, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.batches import selectors
from apps.batches.models import Batch, BatchMember
from apps.core import paginator
from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.models import Head, Run
from apps.progress.reports import Report, accept_reports

from .test_components import words_of

As = Callable[[User | None], Client]
RunIn = Callable[..., Run]


@pytest.fixture(autouse=True)
def users_may_add(settings: Any) -> None:
    settings.USERS_MAY_ADD_DATASETS = True


@pytest.fixture
def nightly(owner: User, public: Dataset, private: Dataset, run_in: RunIn) -> Batch:
    """A batch of a public dataset that is half done, and a private one that failed."""
    run_in(public, "indexing")
    run_in(private, "error")
    batch = Batch.objects.create(batch_id="nightly", name="Every <night>", owner=owner)
    BatchMember.objects.bulk_create(BatchMember(batch=batch, dataset=dataset) for dataset in (public, private))
    return batch


def test_page_shows_what_the_reader_may_see(client: Client, as_user: As, owner: User, nightly: Batch) -> None:
    mine = as_user(owner).get("/batches/nightly/").text
    assert "Every &lt;night&gt;" in mine
    assert "All 2 Attention 1 Running 1" in words_of(mine)
    assert 'id="row-open-1"' in mine
    assert 'id="row-shut.1"' in mine
    theirs = client.get("/batches/nightly/").text
    assert "All 1 Running 1" in words_of(theirs)
    assert "shut.1" not in theirs
    assert "batch-pause" not in theirs
    assert 'data-socket="/batches/nightly/progress/live/?id=open-1"' in theirs
    assert client.get("/batches/none/").status_code == 404


def test_bar_has_a_segment_for_each_state(as_user: As, owner: User, nightly: Batch) -> None:
    html = as_user(owner).get("/batches/nightly/").text
    bar = html[html.index('aria-label="Progress of the batch nightly"') : html.index("data-sentence")]
    assert 'aria-valuetext="1 indexing, 1 failed"' in bar
    assert "bg-blue-500 scale-x-36" in " ".join(bar.split())
    assert "bg-red-500 scale-x-100" in " ".join(bar.split())


def test_each_fact_stands_once(as_user: As, owner: User, nightly: Batch, run_in: RunIn) -> None:
    run = run_in(Dataset.objects.create(dataset_id="third", owner=owner), "indexing")
    BatchMember.objects.create(batch=nightly, dataset=run.dataset)
    accept_reports([(run.dataset_id, Report(failed=12_345))])
    progress.request_pause(run.pk, "olga")
    progress.acknowledge(run.pk)
    shown = words_of(as_user(owner).get("/batches/nightly/").text)
    assert shown.count("12,345 items failed") == 1
    assert "12,345 failed" in shown
    assert re.search(r"36% Paused 12,345 failed by olga ?, \d\d:\d\d", shown)
    assert "3 datasets" not in shown
    assert "1 running" not in shown


def test_page_says_what_it_leaves_out(
    as_user: As, owner: User, nightly: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 2)
    exact = as_user(owner).get("/batches/nightly/").text
    assert exact.count('class="row-heading"') == 2
    assert "The list ends" not in exact
    monkeypatch.setattr(paginator, "MOST_COUNTED", 1)
    assert "The list ends after 1 datasets." in as_user(owner).get("/batches/nightly/").text


def test_htmx_gets_the_rows_and_the_panel(client: Client, nightly: Batch) -> None:
    html = client.get("/batches/nightly/", headers={"HX-Request": "true"}).text
    assert 'id="batch-live"' in html
    assert 'id="rows"' in html
    assert "<title>" not in html


def test_list_shows_the_batches_that_one_sees(client: Client, as_user: As, owner: User, nightly: Batch) -> None:
    html = as_user(owner).get("/batches/").text
    assert 'aria-valuetext="1 indexing, 1 failed"' in html
    assert 'aria-valuetext="1 indexing"' in client.get("/batches/").text
    Dataset.objects.update(visibility="private")
    assert 'href="/batches/nightly/"' not in client.get("/batches/").text
    Batch.objects.all().delete()
    assert "No batches yet" in client.get("/batches/").text


def test_dataset_names_its_batches(client: Client, nightly: Batch) -> None:
    assert 'href="/batches/nightly/"' in client.get("/datasets/open-1/").text


def test_all_are_steered(as_user: As, owner: User, stranger: User, nightly: Batch) -> None:
    response = as_user(owner).post("/batches/nightly/control/", {"action": "pause"}, follow=True)
    assert "1 dataset: pausing." in words_of(response.text)
    assert Run.objects.get(dataset__dataset_id="open-1").control == "pause"
    refused = as_user(stranger).post("/batches/nightly/control/", {"action": "resume"}, follow=True)
    assert "You may not steer this dataset." in words_of(refused.text)
    assert as_user(owner).post("/batches/nightly/control/", {"action": "dance"}).status_code == 400
    as_user(owner).post("/batches/nightly/control/", {"action": "retry"})
    assert Head.objects.get(dataset__dataset_id="shut.1").retry == "all"
    assert Client().post("/batches/nightly/control/", {"action": "resume"}).status_code == 302


def test_a_batch_is_made_of_what_was_chosen(as_user: As, owner: User, public: Dataset, private: Dataset) -> None:
    browser = as_user(owner)
    assert 'formaction="/new/batch/"' in browser.get("/").text
    form = browser.post("/new/batch/", {"dataset": ["open-1", "shut.1"], "next": "/"}).text
    assert "open-1\nshut.1" in form
    data = {"batch_id": "nightly", "name": "", "datasets": "open-1, shut.1\nopen-1", "limit": "2"}
    assert browser.post("/new/batch/", data, follow=True).redirect_chain == [("/batches/nightly/", 302)]
    batch = Batch.objects.get()
    assert (batch.limit, batch.owner, batch.datasets.count()) == (2, owner, 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"batch_id": "nightly"}, "Batch with this ID already exists."),
        ({"batch_id": "a b"}, "Use letters, digits"),
        ({"batch_id": "x", "datasets": "open-1 nobody"}, "There is no dataset nobody."),
        ({"batch_id": "x", "limit": "-1"}, "greater than or equal to 0"),
        ({"batch_id": ""}, "This field is required."),
    ],
    ids=str,
)
def test_form_says_what_is_wrong(as_user: As, owner: User, nightly: Batch, data: dict[str, str], said: str) -> None:
    response = as_user(owner).post("/new/batch/", data)
    assert response.status_code == 422
    assert said in response.text
    assert Batch.objects.count() == 1


def test_editing_keeps_what_the_editor_does_not_see(as_user: As, owner: User, staff: User, nightly: Batch) -> None:
    hidden = Dataset.objects.create(dataset_id="unseen", visibility="private", owner=staff)
    BatchMember.objects.create(batch=nightly, dataset=hidden)
    browser = as_user(owner)
    assert "unseen" not in browser.get("/batches/nightly/edit/").text
    browser.post("/batches/nightly/edit/", {"name": "Nightly", "datasets": "open-1", "limit": ""})
    nightly.refresh_from_db()
    assert nightly.name == "Nightly"
    assert set(nightly.datasets.values_list("dataset_id", flat=True)) == {"open-1", "unseen"}
    assert browser.post("/batches/nightly/edit/", {"datasets": "nobody"}).status_code == 422


def test_only_its_owner_edits_and_deletes(as_user: As, owner: User, stranger: User, nightly: Batch) -> None:
    for address in ("/batches/nightly/edit/", "/batches/nightly/delete/"):
        assert as_user(stranger).post(address).status_code == 403
        assert Client().post(address).status_code == 302
    assert "2 datasets" in as_user(owner).get("/batches/nightly/delete/").text
    as_user(owner).post("/batches/nightly/delete/")
    assert not Batch.objects.exists()
    assert Dataset.objects.count() == 2


def test_pages_take_as_many_queries_for_many_as_for_few(
    as_user: As, owner: User, nightly: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "ESTIMATE_SECONDS", 3600.0)
    browser = as_user(owner)
    pages = ("/batches/nightly/", "/batches/")
    few = []
    for page in pages:
        browser.get(page)  # the time left is estimated
        with CaptureQueriesContext(connection) as queries:
            browser.get(page)
        few.append(len(queries))
    datasets = Dataset.objects.bulk_create(
        Dataset(dataset_id=f"set-{number:03}", visibility="public", owner=owner) for number in range(60)
    )
    BatchMember.objects.bulk_create(BatchMember(batch=nightly, dataset=dataset) for dataset in datasets)
    Batch.objects.bulk_create(Batch(batch_id=f"batch-{number}", owner=owner) for number in range(20))
    for page, count in zip(pages, few, strict=True):
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(page).status_code == 200
        assert len(queries) <= count, page


def test_admin_lists_batches(as_user: As, staff: User, nightly: Batch) -> None:
    User.objects.filter(pk=staff.pk).update(is_superuser=True)
    html = as_user(staff).get("/admin/batches/batch/").text
    assert 'href="/batches/nightly/"' in html
    assert as_user(staff).get(f"/admin/batches/batch/{nightly.pk}/change/").status_code == 200
