"""The title and the icon of a tab, and the badge."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from django.contrib.auth.models import User
from django.test import Client

from apps.datasets.models import Dataset
from apps.pages import signs
from apps.progress import services
from apps.progress.models import Run
from apps.progress.selectors import progress_of

RunIn = Callable[..., Run]


def header(client: Client, dataset: Dataset) -> tuple[str, str]:
    """What the tab of a dataset's page is to show: what stands before its title, and its icon."""
    html = client.get(f"{dataset.get_absolute_url()}progress/header/").text
    title, icon = re.findall(r'data-title="([^"]*)"\s+data-icon="([^"]*)"', html)[0]
    assert (
        f"<title>{title}{dataset.name.replace('<', '&lt;').replace('>', '&gt;')}"
        in client.get(dataset.get_absolute_url()).text
    )
    assert client.get(icon).status_code == 200
    return title, icon


def test_every_page_has_an_icon(client: Client, admin_client: Client) -> None:
    for page in ("/", "/accounts/login/", "/api/docs", "/no-such-page/"):
        assert 'rel="icon"' in client.get(page).text, page
    for page in ("/admin/", "/admin/progress/run/"):
        assert 'rel="icon"' in admin_client.get(page).text, page
    assert client.get("/favicon.ico").headers["Location"].endswith(".svg")


def test_tab_shows_how_far_the_dataset_is(client: Client, public: Dataset, run_in: RunIn) -> None:
    assert header(client, public) == ("", "/icons/pending.svg")
    run = run_in(public, "indexing", current=47, total=100)
    whole = signs.percent_of(progress_of(public.pk))
    assert whole is not None
    assert header(client, public) == (f"{whole}% · ", f"/icons/indexing-{whole // 5 * 5}.svg")
    services.request_pause(run.pk)
    services.acknowledge(run.pk)
    assert header(client, public) == (f"{whole}% · ", f"/icons/paused-{whole // 5 * 5}.svg")
    services.finish(run.pk)
    assert header(client, public) == ("✓ ", "/icons/ready.svg")
    run_in(public, "error")
    assert header(client, public) == ("✕ ", "/icons/error.svg")


@pytest.mark.parametrize("word", ["pending", "indexing", "embedding", "ready", "error", "paused", "cancelled"])
def test_icons_are_drawn(client: Client, word: str) -> None:
    for name in (word, f"{word}-0", f"{word}-45", f"{word}-100"):
        answer = client.get(f"/icons/{name}.svg")
        assert answer.headers["Content-Type"] == "image/svg+xml"
        ElementTree.fromstring(answer.text)
    assert client.get(f"/icons/{word}-101.svg").status_code == 404
    assert client.get("/icons/other.svg").status_code == 404


def test_badge_says_how_far_a_dataset_is_and_is_asked_for_by_its_version(
    client: Client, public: Dataset, run_in: RunIn, django_assert_num_queries: Any
) -> None:
    address = f"{public.get_absolute_url()}badge.svg"
    run = run_in(public, "indexing", current=45, total=100)
    with django_assert_num_queries(1):
        first = client.get(address)
    assert first.headers["Content-Type"] == "image/svg+xml"
    texts = [text.text for text in ElementTree.fromstring(first.text).iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [public.dataset_id, f"indexing {signs.percent_of(progress_of(public.pk))}%"]
    assert client.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    services.finish(run.pk)
    second = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert ">ready</text>" in second.text


def test_badge_of_a_private_dataset_is_for_those_who_may_see_it(
    as_user: Callable[[User | None], Client], private: Dataset, owner: User, stranger: User
) -> None:
    address = f"{private.get_absolute_url()}badge.svg"
    assert as_user(owner).get(address).status_code == 200
    for user in (stranger, None):
        assert (
            as_user(user).get(address).status_code == as_user(user).get("/datasets/none/badge.svg").status_code == 404
        )


def test_badge_stays_whole_with_the_longest_id(client: Client, db: None) -> None:
    dataset = Dataset.objects.create(dataset_id="L" * 128, visibility="public")
    drawn = ElementTree.fromstring(client.get(f"{dataset.get_absolute_url()}badge.svg").text)
    assert int(drawn.attrib["width"]) < 500
