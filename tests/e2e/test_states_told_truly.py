"""Each state is told truly, in the row, on the page and in the header: a test for each sentence of that promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.models import Run, Stage
from apps.progress.reports import Report, accept_reports
from tests.processes import Server

from .conftest import TOTAL, is_live, wait_for_layout

HEADER = "#progress-header"
PANEL = "#dataset-live"
ENDS_WITHIN_ITS_LINE = """time => time.getBoundingClientRect().right
    <= time.closest('#dataset-run, li.row').getBoundingClientRect().right"""


@pytest.fixture
def admin(run: Run) -> str:
    """The session of the dataset's owner, whose run has counted a half."""
    Dataset.objects.filter(pk=run.dataset_id).update(owner=User.objects.create_user("admin"))
    progress.report(run.pk, current=TOTAL // 2)
    client = Client()
    client.force_login(User.objects.get(username="admin"))
    return client.cookies["sessionid"].value


@pytest.fixture
def pages(visit: Callable[..., Page], server: Server, admin: str) -> tuple[Page, Page]:
    """The dataset's page and the list, both live."""
    page, rows = visit(f"{server.url}/datasets/cats/", admin), visit(f"{server.url}/", admin)
    is_live(page)
    is_live(rows)
    return page, rows


def is_grey(place: Page, of: str) -> None:
    """The bar is grey, half full and still."""
    part = place.locator(f"{of} .progress-bar").first
    expect(part).to_have_class(re.compile(r"\bbg-gray-400\b.*\bscale-x-50\b"))
    expect(place.locator(f"{of} .animate-spin, {of} .animate-shimmer")).to_have_count(0)


def test_what_is_asked_for_is_said_everywhere_until_it_is_obeyed(run: Run, pages: tuple[Page, Page]) -> None:
    page, rows = pages
    progress.request_pause(run.pk, "admin")
    for place in (page.locator(PANEL), page.locator(HEADER), rows.locator("#row-cats")):
        expect(place).to_contain_text("Pausing…")
    progress.acknowledge(run.pk)
    for place in (page.locator(PANEL), page.locator(HEADER), rows.locator("#row-cats")):
        expect(place).to_contain_text("Paused")
        expect(place).not_to_contain_text("Pausing…")
    progress.request_cancel(run.pk, "admin")
    for place in (page.locator(PANEL), page.locator(HEADER), rows.locator("#row-cats")):
        expect(place).to_contain_text("Cancelling…")
    progress.cancel(run.pk)
    for place in (page.locator(PANEL), page.locator(HEADER), rows.locator("#row-cats")):
        expect(place).to_contain_text("Cancelled")
        expect(place).not_to_contain_text("Cancelling…")


def test_paused_run_is_grey_and_still_and_names_who_paused_it(run: Run, pages: tuple[Page, Page]) -> None:
    page, rows = pages
    progress.request_pause(run.pk, "admin")
    progress.acknowledge(run.pk)
    expect(page.locator("#dataset-run")).to_contain_text(re.compile(r"Paused by admin, \d\d:\d\d"))
    expect(rows.locator("li.row")).to_contain_text(re.compile(r"by admin, \d\d:\d\d"))
    for place, of in ((page, PANEL), (page, HEADER), (rows, "#row-cats")):
        is_grey(place, of)
    for word in ("Rate", "Time left", "Done about"):
        expect(page.locator(PANEL)).not_to_contain_text(word)


def test_long_name_is_cut_off_and_not_the_time_beside_it(
    run: Run, visit: Callable[..., Page], server: Server, admin: str
) -> None:
    progress.request_pause(run.pk, f"token {'nightly-' * 10}")
    progress.acknowledge(run.pk)
    page, rows = visit(f"{server.url}/datasets/cats/", admin), visit(f"{server.url}/", admin)
    for place in (page.locator("#dataset-run"), rows.locator("li.row")):
        name, time = place.get_by_title("nightly-"), place.locator("time").last
        wait_for_layout(name, "name => name.scrollWidth > name.clientWidth && name.offsetHeight < 30")
        expect(time).to_have_text(re.compile(r"^\d\d:\d\d$"))
        wait_for_layout(time, "time => time.parentElement.scrollWidth <= time.parentElement.clientWidth")
        wait_for_layout(time, ENDS_WITHIN_ITS_LINE)


def test_cancelled_run_is_grey_keeps_its_length_and_has_its_own_filter(run: Run, pages: tuple[Page, Page]) -> None:
    page, rows = pages
    progress.request_cancel(run.pk, "admin")
    progress.cancel(run.pk)
    expect(page.locator("#dataset-run")).to_contain_text(re.compile(r"Cancelled by admin, \d\d:\d\d"))
    for place, of in ((page, PANEL), (page, HEADER), (rows, "#row-cats")):
        is_grey(place, of)
    expect(page.locator(f"{PANEL} .dataset-progress")).to_have_attribute("data-state", "error")  # as on the wire
    rows.get_by_role("link", name="Cancelled 1").click()
    expect(rows).to_have_url(re.compile("state=cancelled"))
    expect(rows.get_by_role("link", name="cats", exact=True)).to_be_visible()


def test_failed_run_is_red_keeps_its_length_and_says_why(run: Run, pages: tuple[Page, Page]) -> None:
    page, rows = pages
    progress.fail(run.pk, 'ValueError: bad tile\n  File "a.py", line 1\n    open(x)')
    expect(rows.locator("#row-cats")).to_contain_text("ValueError: bad tile")
    expect(rows.locator("#row-cats")).not_to_contain_text("open(x)")
    for place, of in ((page, PANEL), (page, HEADER), (rows, "#row-cats")):
        expect(place.locator(f"{of} .progress-bar").first).to_have_class(re.compile(r"\bbg-red-500\b.*\bscale-x-50\b"))
    summary = page.locator(f"{PANEL} p", has_text="ValueError: bad tile")
    expect(summary).to_have_css("font-weight", re.compile(r"^[6-9]00$"))
    rest = page.locator(f"{PANEL} details pre")
    expect(rest).not_to_be_visible()
    page.get_by_text("Details").click()
    expect(rest).to_be_visible()
    assert '  File "a.py", line 1\n    open(x)' in (rest.text_content() or "")
    expect(rest).to_have_css("font-family", re.compile("mono"))
    expect(page.locator(f"{PANEL} details [data-copy]")).to_be_visible()


def test_lost_run_stands_above_the_ready_ones(run: Run, visit: Callable[..., Page], server: Server) -> None:
    ready = Dataset.objects.create(dataset_id="a-ready-one", visibility=Dataset.Visibility.PUBLIC)
    progress.finish(progress.begin_run(ready).pk)
    long_ago = timezone.now() - timedelta(hours=2)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=long_ago, progressed_at=long_ago)
    rows = visit(f"{server.url}/")
    expect(rows.locator("#row-cats")).to_contain_text("No contact for 2 hours")
    links = rows.locator("#rows a[id^=link-]")
    expect(links).to_have_text(["cats", "a-ready-one"])
    expect(rows.locator("#row-cats .animate-spin, #row-cats .animate-shimmer")).to_have_count(0)


def test_header_comes_with_the_panel_and_never_disagrees(run: Run, pages: tuple[Page, Page]) -> None:
    page, _ = pages
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/progress/header/" in request.url else None)
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))  # nothing polls
    for current in (TOTAL // 4 * 3, TOTAL // 5 * 4):
        progress.report(run.pk, current=current)
        expect(page.locator(PANEL)).to_contain_text(f"({current}/{TOTAL})")
        expect(page.locator(HEADER)).to_contain_text(f"{100 * current // TOTAL}%")
    progress.finish(run.pk)
    expect(page.locator(f"{PANEL} .dataset-progress")).to_have_attribute("data-state", "ready")
    expect(page.locator(HEADER)).not_to_have_attribute("hx-trigger", re.compile(".*"))
    expect(page.locator(HEADER)).to_be_empty()
    assert asked == []


def test_message_does_not_outlive_what_it_says(run: Run, pages: tuple[Page, Page]) -> None:
    page, _ = pages
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#messages")).to_contain_text("Pausing")
    is_live(page)
    progress.acknowledge(run.pk)
    expect(page.locator(PANEL)).to_contain_text("Paused")
    expect(page.locator("#messages")).to_have_count(0)


def test_tab_tells_how_far_the_dataset_is_and_its_end_is_seen(run: Run, pages: tuple[Page, Page]) -> None:
    page, rows = pages
    icon = page.locator("#icon")
    expect(page).to_have_title(re.compile("^50% · cats"))
    expect(icon).to_have_attribute("href", "/icons/indexing-50.svg")
    progress.report(run.pk, current=TOTAL // 4 * 3)
    expect(page).to_have_title(re.compile("^75% · cats"))
    expect(icon).to_have_attribute("href", "/icons/indexing-75.svg")
    for place in (page, rows):
        place.evaluate(
            "window.sweeps = 0; new MutationObserver((changes) => window.sweeps += changes.flatMap("
            "({addedNodes}) => [...addedNodes]).filter(({className}) => className === 'sweep').length"
            ").observe(document.body, {childList: true})"
        )
    progress.finish(run.pk)
    expect(page).to_have_title(re.compile("^✓ cats"))
    expect(icon).to_have_attribute("href", "/icons/ready.svg")
    for place, of in ((page, "#dataset-body[data-phase$=ready]"), (rows, "li.row[data-phase$=ready]")):
        expect(place.locator(of)).to_be_attached()  # and what is fetched again sweeps no second time
        expect(place.locator(".sweep")).to_have_count(0)
        assert place.evaluate("window.sweeps") == 1


def test_clock_of_a_paused_stage_stands(visit: Callable[..., Page], server: Server, run: Run) -> None:
    accept_reports([(run.dataset_id, Report(stage="check", total=TOTAL))])
    progress.report(run.pk, current=TOTAL // 2)
    Stage.objects.filter(run=run, name="check").update(started_at=timezone.now() - timedelta(seconds=90))
    progress.request_pause(run.pk, "admin")
    progress.acknowledge(run.pk)
    page = visit(f"{server.url}/datasets/cats/")
    clock = page.locator(f"{PANEL} ol li", has_text="Check").locator("span").last
    expect(clock).to_have_text(re.compile(r"\d+:\d\d"))
    before, shown_at = clock.text_content(), page.evaluate("Date.now()")
    page.wait_for_function("then => Date.now() > then + 2500", arg=shown_at)
    progress.report(run.pk, message="Nothing goes on")  # the panel is made anew
    expect(page.locator(PANEL)).to_contain_text("Nothing goes on")
    assert clock.text_content() == before


def test_failed_items_have_the_unit_of_the_stage_that_failed(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    Stage.objects.filter(run=run).update(unit="documents")
    progress.record_failures(run.pk, "index", [("a.html", "no text"), ("b.html", "no text")])
    page = visit(f"{server.url}/datasets/cats/")
    expect(page.locator(PANEL)).to_contain_text("2 documents failed")
    accept_reports([(run.dataset_id, Report(stage="pack", total=TOTAL))])
    expect(page.locator(PANEL)).to_contain_text("2 items failed")
    expect(page.locator("body")).not_to_contain_text("could not be read")
