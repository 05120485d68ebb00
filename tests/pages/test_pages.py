"""The list and the page of a dataset: what they show, to whom, and with how many queries."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.datasets.models import Dataset, Sample
from apps.pages.cursor import cursor_page
from apps.progress import services
from apps.progress.models import Run
from apps.progress.reports import Report, accept_reports

RunIn = Callable[..., Run]
SamplesIn = Callable[..., list[Sample]]
AsUser = Callable[[User | None], Client]
STATES = ["pending", "indexing", "embedding", "ready", "error"]


def many(owner: User, run_in: RunIn, number: int, prefix: str = "set") -> list[Dataset]:
    datasets = [
        Dataset.objects.create(dataset_id=f"{prefix}-{i:03}", visibility="public", owner=owner) for i in range(number)
    ]
    for i, dataset in enumerate(datasets):
        run_in(dataset, STATES[i % len(STATES)])
    return datasets


def rows(html: str) -> list[str]:
    """The ids of the datasets listed, in order."""
    return [part.split('"')[0] for part in html.split('<a id="link-')[1:]]


def test_an_empty_list_says_what_to_do(client: Client, db: None) -> None:
    html = client.get("/").text
    assert "No datasets yet" in html
    assert "manage.py process PATH --dataset ID --wait" in html
    assert "make demo" in html


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_its_bar_in_the_list(client: Client, public: Dataset, run_in: RunIn, state: str) -> None:
    run_in(public, state)
    html = client.get("/").text
    assert f'data-state="{state}"' in html
    assert "Open &lt;one&gt;" in html
    moving = state not in ("ready", "error")
    assert f'data-socket="/progress/live/?id={public.dataset_id}"' in html
    assert ('http-equiv="refresh"' in html) is moving


def test_the_list_shows_what_one_may_see(
    as_user: AsUser, public: Dataset, private: Dataset, owner: User, stranger: User, staff: User
) -> None:
    assert rows(as_user(None).get("/").text) == [public.dataset_id]
    assert rows(as_user(stranger).get("/").text) == [public.dataset_id]
    assert set(rows(as_user(owner).get("/").text)) == {public.dataset_id, private.dataset_id}
    assert set(rows(as_user(staff).get("/").text)) == {public.dataset_id, private.dataset_id}
    private.members.add(stranger)
    assert set(rows(as_user(stranger).get("/").text)) == {public.dataset_id, private.dataset_id}


def test_no_two_elements_share_an_id_whatever_datasets_are_called(client: Client, owner: User, run_in: RunIn) -> None:
    """Of two that do, a push would replace the wrong one."""
    for prefix in ("", "bar-", "of-", "compact-", "compact-bar-", "compact-of-", "progress-of-", "row-", "link-"):
        run_in(Dataset.objects.create(dataset_id=f"{prefix}cats", visibility="public", owner=owner), "indexing")
    for page in ("/", "/datasets/bar-cats/", "/datasets/compact-of-cats/"):
        ids = re.findall(r'\sid="([^"]+)"', client.get(page).text)
        assert len(ids) == len(set(ids)), page


def test_search_and_filter(client: Client, owner: User, run_in: RunIn) -> None:
    many(owner, run_in, 5)
    Dataset.objects.filter(dataset_id="set-003").update(name="Alpine flora")
    assert rows(client.get("/", {"q": "ALPINE"}).text) == ["set-003"]
    assert rows(client.get("/", {"q": "set-004"}).text) == ["set-004"]
    assert rows(client.get("/", {"state": "embedding"}).text) == ["set-002"]
    none = client.get("/", {"q": "nothing is called so"}).text
    assert "No datasets match" in none
    assert "Show all" in none


def test_a_dataset_that_never_ran_is_pending(client: Client, public: Dataset) -> None:
    assert rows(client.get("/", {"state": "pending"}).text) == [public.dataset_id]
    assert rows(client.get("/", {"state": "ready"}).text) == []


def test_orders(client: Client, owner: User, run_in: RunIn) -> None:
    first, second, third = many(owner, run_in, 3)
    Dataset.objects.filter(pk=first.pk).update(name="Zebra")
    services.report(Run.objects.get(dataset=second).pk, current=50)
    orders = {
        "updated": [second.dataset_id, third.dataset_id, first.dataset_id],
        "name": [second.dataset_id, third.dataset_id, first.dataset_id],
        "state": [second.dataset_id, third.dataset_id, first.dataset_id],
        "created": [third.dataset_id, second.dataset_id, first.dataset_id],
        "garbage": [second.dataset_id, third.dataset_id, first.dataset_id],
    }
    for sort, dataset_ids in orders.items():
        assert rows(client.get("/", {"sort": sort}).text) == dataset_ids, sort


def test_pages_of_fifty(client: Client, owner: User) -> None:
    Dataset.objects.bulk_create(Dataset(dataset_id=f"d{i:03}", visibility="public", owner=owner) for i in range(120))
    first = client.get("/", {"sort": "name"}).text
    assert rows(first) == [f"d{i:03}" for i in range(50)]
    assert 'href="?sort=name&amp;page=3"' in first
    assert rows(client.get("/", {"sort": "name", "page": "3"}).text) == [f"d{i:03}" for i in range(100, 120)]
    assert rows(client.get("/", {"sort": "name", "page": "garbage"}).text) == rows(first)


@pytest.mark.parametrize("query", [{"q": "\0"}, {"page": "9" * 50}, {"state": "'"}, {"q": "x" * 5000}])
def test_garbage_in_the_address_is_no_error(client: Client, public: Dataset, query: dict[str, str]) -> None:
    assert client.get("/", query).status_code == 200


def test_the_list_costs_the_same_however_long_it_is(
    as_user: AsUser, owner: User, run_in: RunIn, django_assert_num_queries: Any
) -> None:
    many(owner, run_in, 5)
    with django_assert_num_queries(5):
        as_user(None).get("/")
    many(owner, run_in, 20, prefix="more")
    with django_assert_num_queries(5):
        as_user(None).get("/")


def test_the_rows_alone_are_given_to_who_asks_for_them(client: Client, public: Dataset, run_in: RunIn) -> None:
    run_in(public, "indexing")
    html = client.get("/", headers={"HX-Request": "true"}).text
    assert html.strip().startswith('<div id="rows"')
    assert "<html" not in html
    assert rows(html) == [public.dataset_id]


@pytest.mark.parametrize("state", [None, *STATES])
def test_the_page_of_each_state(client: Client, public: Dataset, run_in: RunIn, state: str | None) -> None:
    if state:
        run_in(public, state)
    html = client.get(public.get_absolute_url()).text
    assert 'id="dataset-live"' in html
    assert 'id="progress-header"' in html
    assert f'data-socket="/datasets/{public.dataset_id}/progress/live/"' in html
    assert "data-sentence" in html
    moving = state in ("pending", "indexing", "embedding")
    assert ('http-equiv="refresh"' in html) is moving
    assert "The folder &lt;b&gt;went&lt;/b&gt; away." in html or state != "error"


def test_who_may_see_the_page(
    as_user: AsUser, public: Dataset, private: Dataset, owner: User, stranger: User, staff: User
) -> None:
    for user, status in ((None, 404), (stranger, 404), (owner, 200), (staff, 200)):
        assert as_user(user).get(private.get_absolute_url()).status_code == status
    invisible = as_user(stranger).get(private.get_absolute_url()).text
    unknown = as_user(stranger).get("/datasets/no-such/").text
    assert private.title not in invisible
    assert "Not found" in invisible
    assert "Not found" in unknown


def test_controls_are_for_those_who_may_steer(
    as_user: AsUser, public: Dataset, run_in: RunIn, owner: User, stranger: User, staff: User
) -> None:
    run_in(public, "indexing")
    for user, sees in ((None, False), (stranger, False), (owner, True), (staff, True)):
        html = as_user(user).get(public.get_absolute_url()).text
        assert ("Cancel run" in html) is sees
        assert ("Delete…" in html) is sees


def test_list_of_fifty_weighs_less_than_25_kb_on_the_wire(as_user: AsUser, owner: User, run_in: RunIn) -> None:
    for number in range(50):
        dataset = Dataset.objects.create(dataset_id=f"set-{number:03}", visibility="public", owner=owner)
        run_in(dataset, "indexing", total=1000 + number)
    asked = {"Accept-Encoding": "gzip", "Sec-Fetch-Site": "none"}
    response = as_user(owner).get("/", headers=asked)  # as one who may steer them all, which is the heaviest
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(response.content).count(b'id="choose-set-') == 50
    assert len(response.content) < 25_000


def test_the_page_costs_the_same_however_much_there_is(
    client: Client, public: Dataset, run_in: RunIn, samples_in: SamplesIn
) -> None:
    def queries(tab: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert f'id="{tab}"' in client.get(f"{public.get_absolute_url()}?tab={tab}").text
        return len(queries)

    run = run_in(public, "indexing")
    samples_in(public, 2)
    services.record_failures(run.pk, "index", [("a.jpg", "truncated"), ("b.jpg", "empty")])
    tabs = ("samples", "failures", "runs")
    few = [queries(tab) for tab in tabs]
    samples_in(public, 200, prefix="more-")
    services.record_failures(run.pk, "index", [(f"{i}.jpg", f"reason {i}") for i in range(200)])
    services.finish(run.pk)
    for _ in range(30):
        services.finish(services.begin_run(public).pk)
    services.record_failures(run_in(public, "indexing").pk, "index", [(f"{i}.jpg", f"reason {i}") for i in range(200)])
    assert [queries(tab) for tab in tabs] == few
    assert max(few) <= 10


def flat(html: str) -> str:
    """Without the line breaks between attributes, which mean nothing."""
    return re.sub(r"\s+", " ", html)


def gallery(html: str) -> list[str]:
    return [part.split('"')[0] for part in flat(html).split('decoding="async" alt="')[1:]]


def link(html: str, rel: str) -> str:
    return unescape(flat(html).split(f'" rel="{rel}">')[-2].rsplit('href="', 1)[1].split("#")[0])


def test_the_gallery_goes_forth_and_back(client: Client, public: Dataset, samples_in: SamplesIn) -> None:
    samples_in(public, 150)
    address = public.get_absolute_url()
    paths = [f"{public.dataset_id}/{i:05}.jpg" for i in range(150)]
    first = client.get(address).text
    assert gallery(first) == paths[:60]
    assert 'rel="prev"' not in first
    second = client.get(address + link(first, "next")).text
    assert gallery(second) == paths[60:120]
    third = client.get(address + link(second, "next")).text
    assert gallery(third) == paths[120:]
    assert 'rel="next"' not in third
    back = client.get(address + link(third, "prev")).text
    assert gallery(back) == paths[60:120]
    start = client.get(address + link(back, "prev")).text
    assert gallery(start) == paths[:60]
    assert 'rel="prev"' not in start


@pytest.mark.parametrize("cursor", [{"after": 5}, {"before": 5}, {}])
def test_a_page_of_the_gallery_reads_its_own_rows_and_no_others(
    public: Dataset, samples_in: SamplesIn, cursor: dict[str, int]
) -> None:
    pks = [sample.pk for sample in samples_in(public, 9)]
    from_there = {side: pks[place - 1] for side, place in cursor.items()}
    with CaptureQueriesContext(connection) as queries:
        cursor_page(Sample.objects.filter(dataset=public), 2, **from_there)
    [query] = queries
    assert "OFFSET" not in query["sql"]
    if connection.vendor != "sqlite":
        return  # whose plans are in other words
    with connection.cursor() as database:
        database.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
        plan = " ".join(str(row) for row in database.fetchall())
    # A range of an index, in its order: nothing is gone through, or sorted, that is not shown.
    assert "SEARCH" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    "query", ["?after=x", "?after=-1", "?before=0", "?after=" + "9" * 40, "?failures_after=²", "?after=" + "9" * 5000]
)
def test_a_cursor_that_is_none_is_no_error(client: Client, public: Dataset, samples_in: SamplesIn, query: str) -> None:
    samples_in(public, 3)
    assert client.get(public.get_absolute_url() + query).status_code == 200


def test_a_thumbnail_has_its_place_before_it_is_there(client: Client, public: Dataset, samples_in: SamplesIn) -> None:
    (sample,) = samples_in(public, 1)
    html = client.get(public.get_absolute_url()).text
    address = reverse("sample-thumbnail", args=[public.dataset_id, sample.pk])
    assert f'src="{address}?h={sample.sha256[:16]}" width="256" height="192" loading="lazy"' in flat(html)


def test_failures_are_listed_twenty_at_a_time(client: Client, public: Dataset, run_in: RunIn) -> None:
    run = run_in(public, "indexing")
    services.record_failures(run.pk, "index", [(f"bad-{i:03}<i>.jpg", "truncated") for i in range(45)])
    html = client.get(public.get_absolute_url()).text
    assert html.count("&lt;i&gt;.jpg") == 20
    assert "bad-000" in html
    second = client.get(public.get_absolute_url() + link(html, "next")).text
    assert "bad-020" in second
    assert "bad-019" not in second


def test_failures_that_are_not_listed_are_counted_by_reason(
    client: Client, public: Dataset, run_in: RunIn, settings: Any
) -> None:
    settings.MOST_FAILURES = 1
    run = run_in(public, "indexing")
    services.record_failures(run.pk, "index", [(f"{number}.jpg", "truncated") for number in range(1235)])
    html = client.get(public.get_absolute_url()).text
    assert "0.jpg" in html
    assert "1,234 items" in html.split("Not listed")[1]


def test_the_failures_of_a_run_that_is_not_the_latest_are_not_shown(
    client: Client, public: Dataset, run_in: RunIn
) -> None:
    run = run_in(public, "indexing")
    services.record_failures(run.pk, "index", [("old.jpg", "truncated")])
    services.finish(run.pk)
    run_in(public, "indexing")
    html = client.get(public.get_absolute_url()).text
    assert "old.jpg" not in html
    assert "Run 2" in html.split('id="runs"')[1]


def test_a_run_that_ended_before_all_that_was_planned_is_told_so(
    client: Client, public: Dataset, run_in: RunIn
) -> None:
    run_in(public, "ready", current=4, total=10)
    html = client.get(public.get_absolute_url()).text
    assert "4 of 10 files" in html
    assert "10 / 10" not in html
    assert "4 of 10 files" in client.get("/").text


def test_bytes_are_read_as_bytes(client: Client, public: Dataset, run_in: RunIn) -> None:
    run_in(public, "indexing", current=4_500_000, total=10_000_000)
    accept_reports([(public.pk, Report(label="Copying", unit="B"))])
    html = client.get(public.get_absolute_url()).text
    assert "45% (4.5 MB/10.0 MB)" in html
    assert "4.5 MB / 10.0 MB" in html
    assert "Copying" in html


def test_every_page_has_a_strict_policy(client: Client, public: Dataset) -> None:
    response = client.get(public.get_absolute_url())
    policy = response.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "style=" not in response.text
    assert " onclick" not in response.text
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert response.text.count("<script") == response.text.count(f'nonce="{nonce}"')


def test_an_address_that_no_dataset_can_have(client: Client, db: None) -> None:
    for dataset_id in (".hidden", "a b", "a%2Fb", "x" * 129, "-x", "a%00"):
        assert client.get(f"/datasets/{dataset_id}/").status_code == 404
