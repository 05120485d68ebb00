"""The groups of the list: Python and SQL say the same, counts filter, and rows stand in order."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from apps.core import paginator
from apps.datasets import search
from apps.datasets.models import Dataset
from apps.progress import listening, services
from apps.progress.groups import PLACES, Group, group_of, with_places
from apps.progress.listening import Listening
from apps.progress.models import Run, Stage
from apps.progress.selectors import progress_of_many
from apps.progress.services import StagePlan

from .test_components import words_of
from .test_pages import rows

As = Callable[[User | None], Client]


def begin(dataset_id: str, owner: User | None = None) -> Run:
    dataset = Dataset.objects.create(dataset_id=dataset_id, visibility="public", owner=owner)
    return services.begin_run(dataset, [StagePlan("load", "Loading", unit="files", total=10)])


def start(dataset_id: str, owner: User | None = None) -> Run:
    run = services.start_stage(begin(dataset_id, owner).pk, "load")
    return services.report(run.pk, current=4)


def heard(run: Run, *, signs: float, progress: float, sign_gap: float = 0.0, gap: float = 0.0) -> None:
    """Set how many seconds ago a run was heard of and made progress, and its usual gaps."""
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        heartbeat_at=now - timedelta(seconds=signs), progressed_at=now - timedelta(seconds=progress), sign_gap=sign_gap
    )
    Stage.objects.filter(run=run).update(gap=gap)


@pytest.fixture
def everything(db: None, owner: User) -> None:
    Dataset.objects.create(dataset_id="new", visibility="public")
    begin("queued")
    services.request_pause(begin("held-back").pk, "olga")
    start("running")
    services.request_pause(start("paused", owner).pk, "olga")
    services.acknowledge(Run.objects.get(dataset__dataset_id="paused").pk)
    services.fail(start("failed").pk, "No space.\n  File x")
    cancelled = start("cancelled", owner)
    services.request_cancel(cancelled.pk, "olga")
    services.cancel(cancelled.pk)
    services.finish(start("ready").pk)
    heard(start("lost"), signs=10_000, progress=10_000)
    heard(start("lost-but-slow-by-nature"), signs=10_000, progress=10_000, sign_gap=3_000, gap=3_000)
    heard(start("stalled"), signs=1, progress=10_000)
    heard(start("long-steps"), signs=1, progress=10_000, gap=3_000)
    heard(start("silent-for-a-while"), signs=90, progress=90)


def test_python_and_sql_say_the_same(everything: None) -> None:
    progress = progress_of_many(Dataset.objects.values_list("pk", flat=True))
    in_sql = {row.dataset_id: list(Group)[row.place] for row in with_places(Dataset.objects.all(), timezone.now())}
    assert in_sql == {one.dataset_id: group_of(one) for one in progress.values()}
    assert in_sql == {
        "new": Group.NEW, "queued": Group.QUEUED, "held-back": Group.PAUSED, "running": Group.RUNNING,
        "paused": Group.PAUSED, "failed": Group.ATTENTION, "cancelled": Group.CANCELLED, "ready": Group.READY,
        "lost": Group.ATTENTION, "lost-but-slow-by-nature": Group.RUNNING, "stalled": Group.ATTENTION,
        "long-steps": Group.RUNNING, "silent-for-a-while": Group.RUNNING,
    }  # fmt: skip
    assert list(PLACES.values()) == list(range(len(Group)))


@pytest.mark.parametrize(
    ("back", "noted"), [(3, 0), (90, 0), (119, 0), (121, 0), (9_990, 0), (20_000, 0), (20_000, 60)]
)
def test_both_say_the_same_after_the_server_was_away(everything: None, back: float, noted: float) -> None:
    known = start("known-as-lost")
    heard(known, signs=10_000, progress=10_000)
    Run.objects.filter(pk=known.pk).update(lost_at=timezone.now())
    now = timezone.now()
    times = {"since": now - timedelta(seconds=back), "until": now - timedelta(seconds=noted)}
    Listening.objects.update_or_create(pk=1, defaults=times)
    listening.read()
    progress = progress_of_many(Dataset.objects.values_list("pk", flat=True))
    in_sql = {row.dataset_id: list(Group)[row.place] for row in with_places(Dataset.objects.all(), timezone.now())}
    assert in_sql == {one.dataset_id: group_of(one) for one in progress.values()}
    is_given_time = noted or back < 120
    assert in_sql["lost"] == (Group.RUNNING if is_given_time else Group.ATTENTION)
    assert in_sql["known-as-lost"] == Group.ATTENTION


def test_counts_are_the_filter(client: Client, everything: None) -> None:
    html = client.get("/").text
    groups = words_of(html[html.index('aria-label="Groups"') : html.index('<ul class="rows"')])
    assert "All 13 Attention 3 Running 4 Paused 2 Queued 1 Cancelled 1 Ready 1 Not processed yet 1" in groups
    for group, ids in {
        "attention": ["failed", "lost", "stalled"],
        "cancelled": ["cancelled"],
        "new": ["new"],
        "paused": ["held-back", "paused"],
        "running": ["long-steps", "lost-but-slow-by-nature", "running", "silent-for-a-while"],
    }.items():
        html = client.get("/", {"state": group}).text
        assert rows(html) == ids
        slug = "not-processed-yet" if group == "new" else group
        assert re.search(rf'id="group-{slug}"[^>]*aria-current="page"', html)


# Seven of the thirteen datasets are working, three pending.
@pytest.mark.parametrize("most", [4, 6, 7, 12, 13])
def test_each_group_is_whole_on_a_site_of_any_size(
    client: Client, everything: None, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", most)
    in_groups = {group: sorted(rows(client.get("/", {"state": group}).text)) for group in Group}
    assert in_groups == {
        Group.ATTENTION: ["failed", "lost", "stalled"],
        Group.RUNNING: ["long-steps", "lost-but-slow-by-nature", "running", "silent-for-a-while"],
        Group.PAUSED: ["held-back", "paused"],
        Group.QUEUED: ["queued"],
        Group.CANCELLED: ["cancelled"],
        Group.READY: ["ready"],
        Group.NEW: ["new"],
    }


def chips(html: str) -> dict[str, str]:
    """The figures of the filters, by their labels."""
    return dict(re.findall(r'id="group-[^>]*>([^<]+?)(?: <span[^>]*>([^<]+)</span>)?</a>', html))


def test_counts_of_more_than_are_counted_say_so(
    client: Client, everything: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 2)
    html = client.get("/").text
    shown = chips(html)
    exact = {"All": "13", "Queued": "1", "Cancelled": "1", "Ready": "1", "Not processed yet": "1"}
    assert {label: shown[label] for label in exact} == exact
    assert all(shown[label][-1:] in ("+", "") for label in ("Attention", "Running", "Paused")), "7 are working"
    assert 'class="row-heading"' not in html
    assert rows(client.get("/", {"state": "running", "sort": "name"}).text)[0] == "long-steps"


def test_counts_of_as_many_as_are_counted_are_exact(
    client: Client, everything: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 13)
    html = client.get("/").text
    assert chips(html)["All"] == "13"
    assert html.count('class="row-heading"') == 7
    assert "The list ends" not in html
    monkeypatch.setattr(paginator, "MOST_COUNTED", 7)  # as many are working
    html = client.get("/").text
    assert chips(html) == chips(client.get("/?sort=name").text)
    assert not [figure for figure in chips(html).values() if "+" in figure]
    assert len(rows(html)) == 7
    assert "The list ends after 7 datasets." in html


def test_one_that_failed_is_counted_beside_any_number_that_wait(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dataset.objects.bulk_create(Dataset(dataset_id=f"new-{number}", visibility="public") for number in range(5))
    services.fail(start("failed").pk, "No space.")
    monkeypatch.setattr(paginator, "MOST_COUNTED", 3)
    html = client.get("/").text
    assert chips(html) == {"All": "6", "Attention": "1", "Not processed yet": "5"}
    assert rows(client.get("/?state=attention").text) == ["failed"]
    assert len(rows(client.get("/?state=new").text)) == 3


def test_more_that_wait_for_a_worker_than_are_counted_say_so(
    client: Client, everything: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 1)  # two have a run that waits, and one never ran
    shown = chips(client.get("/").text)
    assert shown["All"] == "13"
    assert all(shown[label][-1:] in ("+", "") for label in ("Paused", "Queued", "Not processed yet"))


def test_owner_of_more_than_are_counted_is_told_so(as_user: As, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}", owner=owner) for number in range(4))
    monkeypatch.setattr(paginator, "MOST_COUNTED", 3)
    assert chips(as_user(owner).get("/").text)["All"] == "3+"
    monkeypatch.setattr(paginator, "MOST_COUNTED", 4)
    assert chips(as_user(owner).get("/").text) == {"All": "4", "Not processed yet": "4"}


def test_counts_are_those_of_what_each_user_sees(as_user: As, everything: None, owner: User, stranger: User) -> None:
    Dataset.objects.create(dataset_id="own", owner=stranger)
    services.finish(start("hidden").pk)
    Dataset.objects.filter(dataset_id="hidden").update(visibility="private", owner=owner)
    of_anyone, of_owner, of_stranger = (
        {label: int(figure) for label, figure in chips(as_user(user).get("/").text).items()}
        for user in (None, owner, stranger)
    )
    assert of_owner == {**of_anyone, "All": 14, "Ready": 2}
    assert of_stranger == {**of_anyone, "All": 14, "Not processed yet": 2}


def test_group_is_in_its_order_on_a_site_of_any_size(
    client: Client, everything: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 3)
    services.finish(start("a-later-one").pk)
    Run.objects.filter(dataset__dataset_id="ready").update(finished_at=timezone.now() + timedelta(days=1))
    html = client.get("/?state=ready").text
    assert rows(html) == ["ready", "a-later-one"]
    assert '<li class="row-heading">Ready</li>' in html


def test_member_of_few_is_told_their_counts(as_user: As, stranger: User, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}") for number in range(40))
    for dataset in datasets[:2]:
        dataset.members.add(stranger)
    monkeypatch.setattr(paginator, "MOST_COUNTED", 2)
    html = as_user(stranger).get("/").text
    assert chips(html) == {"All": "2", "Not processed yet": "2"}
    assert rows(html) == ["set-0", "set-1"]
    assert "The list ends" not in html


@pytest.mark.parametrize("dataset_id", ["cancelled", "ready", "new", "held-back", "queued", "paused", "stalled"])
def test_group_of_any_dataset_lists_it_on_any_site(
    client: Client, everything: None, monkeypatch: pytest.MonkeyPatch, dataset_id: str
) -> None:
    monkeypatch.setattr(paginator, "MOST_COUNTED", 2)
    group = group_of(progress_of_many([Dataset.objects.get(dataset_id=dataset_id).pk]).popitem()[1])
    assert dataset_id in rows(client.get("/", {"state": group}).text)


def test_list_says_what_it_leaves_out(client: Client, everything: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "The list ends" not in client.get("/").text
    monkeypatch.setattr(paginator, "MOST_COUNTED", 3)
    assert "The list ends after 3 datasets. Search, or choose a group, to find others." in client.get("/").text
    assert "The list ends after 3 datasets.</p>" in client.get("/?state=running").text
    assert "The list ends" not in client.get("/?state=attention").text


@pytest.fixture
def without_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCHED", 3)
    monkeypatch.setattr(search, "_INDEX", "missing")


def test_search_says_what_it_leaves_out(
    client: Client, everything: None, without_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = "Searched the 3 datasets that changed last, and all for this very name or ID."
    assert f"No datasets match. {searched}" in words_of(client.get("/", {"q": "no such thing"}).text)
    assert searched + "</p>" in client.get("/", {"q": "s"}).text
    assert searched.replace("datasets", "datasets in this group") in client.get("/?q=s&state=running").text
    monkeypatch.setattr(search, "MOST_FOUND", 1)
    more = "More match than are listed. Search for more of the name to find others."
    assert f"{searched} {more}</p>" in client.get("/", {"q": "s"}).text


def test_counts_of_a_search_that_is_cut_are_at_least(
    client: Client, everything: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chips(client.get("/?q=paused").text) == {"All": "1", "Paused": "1"}
    monkeypatch.setattr(search, "MOST_FOUND", 2)
    shown = chips(client.get("/?q=s").text)
    assert shown.pop("All") == "2+"
    assert set(shown.values()) <= {"1+", "2+", ""}
    assert len(shown) == len(Group)


def test_counts_of_a_search_that_looked_through_some_are_at_least(
    client: Client, everything: None, without_index: None
) -> None:
    assert chips(client.get("/?q=paused").text) == {
        "All": "1+", "Attention": "", "Running": "", "Paused": "1+", "Queued": "", "Cancelled": "", "Ready": "",
        "Not processed yet": "",
    }  # fmt: skip


def test_search_in_a_group_finds_it_among_very_many_that_match(
    client: Client, everything: None, without_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_FOUND", 2)
    old = timezone.now() - timedelta(days=1)
    Dataset.objects.filter(dataset_id__in=["failed", "cancelled"]).update(changed_at=old)
    without_group = client.get("/?q=e").text
    assert "failed" not in rows(without_group)
    in_group = client.get("/?q=e&state=attention").text
    assert "failed" in rows(in_group)
    assert chips(in_group) == chips(without_group)
    assert rows(client.get("/?q=e&state=cancelled").text) == ["cancelled"]
    assert rows(client.get("/?q=e&state=error").text) == ["cancelled", "failed"]


def test_rows_stand_in_groups(client: Client, everything: None) -> None:
    html = client.get("/").text
    assert rows(html)[:3] == ["failed", "lost", "stalled"]
    assert rows(html)[-3:] == ["cancelled", "ready", "new"]
    headings = re.findall(r'<li class="row-heading">([^<]+)</li>', html)
    assert headings == ["Attention", "Running", "Paused", "Queued", "Cancelled", "Ready", "Not processed yet"]


def row(html: str, dataset_id: str) -> str:
    found = re.search(rf'<li [^>]*class="row">(?:(?!</li>).)*id="link-{dataset_id}".*?</li>', html, re.DOTALL)
    assert found is not None
    return found[0]


def test_row_says_what_matters(as_user: As, owner: User, everything: None) -> None:
    html = as_user(owner).get("/").text
    assert "No space." in words_of(row(html, "failed"))
    assert "File x" not in row(html, "failed")
    assert "40%" in words_of(row(html, "failed"))
    assert re.search(r"Paused by olga ?, \d\d:\d\d", words_of(row(html, "paused")))
    assert re.search(r"Cancelled .*by olga ?, \d\d:\d\d", words_of(row(html, "cancelled")))
    assert "bg-gray-400" in row(html, "paused")
    assert 'role="progressbar"' not in row(html, "ready")
    assert "4 of 10 files" in words_of(row(html, "ready"))
    assert "No contact for 2 hours" in words_of(row(html, "lost"))


def test_names_and_actions_are_for_those_who_steer(as_user: As, stranger: User, owner: User, everything: None) -> None:
    html = as_user(stranger).get("/").text
    assert "olga" not in html
    rows, _, hidden = html.partition('<form id="chosen"')  # which is shown once a row is chosen
    assert hidden
    assert 'name="action"' not in rows
    assert 'class="choose"' not in rows
    mine = as_user(owner).get("/").text
    assert 'value="resume"' in row(mine, "paused")
    assert 'name="action"' not in row(mine, "running")  # somebody else's


def test_list_of_fifty_is_light(client: Client, db: None) -> None:
    for number in range(50):
        run = services.begin_run(
            Dataset.objects.create(dataset_id=f"set-{number:02}", visibility="public"),
            [StagePlan(f"s{n}", f"Stage {n}", total=10) for n in range(4)],
        )
        services.start_stage(run.pk, "s1")
        services.report(run.pk, current=number % 10)
    response = client.get("/")
    assert len(rows(response.text)) == 50
    assert len(gzip.compress(response.content)) < 25_000
