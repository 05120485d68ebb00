"""The page of a dataset in use: focus, what is open, what is fetched again, a dataset that is created again."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from playwright.sync_api import Browser, Page, Route, expect

from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.models import Run
from apps.progress.reports import Report, accept_reports
from tests.processes import Server

from .answers import visit_and_poll, wait_for_answers
from .conftest import (
    CONNECTION,
    GONE,
    SECONDS,
    TOTAL,
    is_live,
    make_sample,
    pass_time,
    report_and_see,
    see,
    wait_for_layout,
)


def create_again(run: Run) -> Run:
    """The dataset of ``run`` anew, under the same id, with a run that is under way."""
    Dataset.objects.filter(pk=run.dataset_id).delete()
    dataset = Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)
    new = progress.begin_run(dataset, [progress.StagePlan("index", total=TOTAL)])
    return progress.start_stage(new.pk, "index")


def test_dataset_that_is_made_again_is_followed(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page, rows = visit(f"{server.url}/datasets/cats/"), visit(f"{server.url}/")
    is_live(page)
    is_live(rows)
    new = create_again(run)
    report_and_see(new, 10, page)
    is_live(page)
    progress.report(new.pk, current=TOTAL // 2)
    expect(rows.locator("#row-cats")).to_contain_text("50%")
    see(page, TOTAL // 2)
    progress.finish(new.pk)
    expect(rows.locator("#row-cats .dataset-progress-compact")).to_have_attribute("data-state", "ready")
    new.dataset.delete()
    expect(page.locator(CONNECTION)).to_have_text(GONE)
    expect(rows.get_by_role("link", name="cats", exact=True)).to_have_count(0)
    again = create_again(new)
    report_and_see(again, 20, page)
    is_live(page)
    # Nor is the rest of the page that of a run of the same number which has ended the same way.
    progress.finish(again.pk)
    body = page.locator("#dataset-body")
    expect(body).to_have_attribute("data-phase", re.compile("ready$"))
    body.evaluate("body => body.setAttribute('data-of-the-first', '')")
    with transaction.atomic():
        progress.finish(create_again(again).pk)
    expect(body).not_to_have_attribute("data-of-the-first", "")


def test_focus_and_what_is_open_survive(visit: Callable[..., Page], server: Server, run: Run) -> None:
    owner = User.objects.create_user("owner")
    Dataset.objects.filter(pk=run.dataset_id).update(owner=owner)
    client = Client()
    client.force_login(owner)
    make_sample(run.dataset)
    page = visit(f"{server.url}/datasets/cats/", client.cookies["sessionid"].value)
    is_live(page)
    pause, resume = page.get_by_role("button", name="Pause"), page.get_by_role("button", name="Resume")
    pause.focus()
    progress.request_pause(run.pk)
    expect(resume).to_be_focused()
    progress.request_resume(run.pk)
    expect(pause).to_be_visible()
    accept_reports([(run.dataset_id, Report(worker="node-07", current=12, total=90))])
    summary = page.locator("#workers-summary")
    expect(summary).to_have_text("1 worker")
    summary.click()
    expect(page.locator("#workers-list")).to_contain_text("node-07")
    accept_reports([(run.dataset_id, Report(worker="node-08", current=1, total=90))])
    expect(page.locator("#workers-list")).to_contain_text("node-08")
    expect(page.locator("#workers")).to_have_attribute("open", "")
    expect(summary).to_be_focused()
    sample = page.locator("#samples a").first
    sample.focus()
    progress.finish(run.pk)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(sample).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("cats: Ready")


def test_tab_of_failures_appears_and_counts_while_the_run_goes_on(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    pushed, polled = visit(f"{server.url}/datasets/cats/"), visit_and_poll(visit, f"{server.url}/datasets/cats/")
    is_live(pushed)
    fetched: list[str] = []
    for page in (pushed, polled):
        expect(page.locator("#tab-failures")).to_be_hidden()
        page.on("request", lambda request: fetched.append(request.url) if request.url.endswith("/cats/") else None)
    for failed in (1, 2):
        progress.record_failures(run.pk, "index", [(f"{failed}.jpg", "truncated")])
        expect(pushed.locator("#tab-failures")).to_have_text(f"Failures {failed}")
        pass_time(polled, lambda: f"Failures {failed}" in polled.locator("nav.tabs").inner_text(), "no tab")  # noqa: B023 -- called at once
    assert fetched == []
    pushed.locator("#tab-failures").click()
    expect(pushed.locator("#failures")).to_contain_text("2.jpg")
    expect(pushed.locator("#failures-more")).to_be_hidden()
    is_live(pushed)
    progress.record_failures(run.pk, "index", [("3.jpg", "truncated"), ("4.jpg", "truncated")])
    expect(pushed.locator("#failures-more")).to_have_text("2 more")
    pushed.locator("#failures-more").click()
    expect(pushed.locator("#failures")).to_contain_text("4.jpg")
    expect(pushed.locator("#failures-more")).to_be_hidden()
    with transaction.atomic():
        progress.finish(run.pk)
        progress.begin_run(run.dataset)
    for page in (pushed, polled):
        pass_time(page, lambda: page.locator("#tab-failures").is_hidden(), "a tab of nothing")  # noqa: B023 -- called at once


def test_page_of_a_run_becomes_that_of_a_run_that_is_over(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit(f"{server.url}/datasets/cats/runs/1/")
    is_live(page)
    links, panel = page.locator("#run-json"), page.locator("#dataset-live")
    expect(panel).to_be_visible()
    top = "element => element.getBoundingClientRect().top"
    before = links.evaluate(top)
    assert before < panel.evaluate(top)
    report_and_see(run, 10, page)
    with transaction.atomic():
        progress.finish(run.pk)
        progress.begin_run(run.dataset)  # whose panel is none of this page's
    expect(page.locator("h1")).to_have_text(re.compile("^Run 1: Ready"))
    expect(panel).to_have_count(0)
    expect(page.locator("#run-next")).to_be_visible()
    assert links.evaluate(top) == before


def test_rest_of_a_page_that_cannot_be_had_is_asked_for_ever_less_often(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    page = visit(f"{server.url}/datasets/cats/")
    is_live(page)
    page.clock.install()
    answers: list[dict[str, object]] = [{"status": 500, "body": "no"}, {"status": 200, "body": "<p>Be back soon</p>"}]
    asked: list[str] = []

    def wrong(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(**answers[len(asked) % 2])  # type: ignore[arg-type]  # options of any type

    page.route(re.compile("/datasets/cats/$"), wrong)
    progress.finish(run.pk)
    expect(page.locator("main .dataset-progress").first).to_have_attribute("data-state", "ready")
    for _ in range(10):
        page.evaluate("document.body.dispatchEvent(new CustomEvent('htmx:afterSwap', {bubbles: true}))")
        page.wait_for_timeout(300)
    assert 1 <= len(asked) <= 4, asked
    expect(page.locator("#dataset-body")).to_be_attached()
    page.unroute(re.compile("/datasets/cats/$"))
    page.clock.run_for(60 * SECONDS)
    page.evaluate("document.body.dispatchEvent(new CustomEvent('htmx:afterSwap', {bubbles: true}))")
    expect(page.locator("#dataset-body")).to_have_attribute("data-phase", re.compile("ready$"))


def test_page_that_is_newer_than_its_panel_is_fetched_once(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    page = visit_and_poll(visit, f"{server.url}/datasets/cats/")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    fetched: list[str] = []

    def resumed_meanwhile(route: Route) -> None:
        if not fetched:
            progress.request_resume(run.pk)
        fetched.append(route.request.url)
        route.continue_()

    page.route(re.compile("/datasets/cats/$"), resumed_meanwhile)
    progress.request_pause(run.pk)
    pass_time(page, lambda: fetched, "the page is not fetched")
    for _ in range(10):  # a second in all, in which it does not poll
        page.clock.run_for(SECONDS // 10)
        wait_for_answers(page)
    for place in ("#dataset-body", "#dataset-live"):
        expect(page.locator(place)).to_have_attribute("data-phase", re.compile("indexing-resume$"))
    assert len(fetched) == 1


def test_clock_that_is_set_back_holds_nothing_up(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.clock.install()
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    progress.request_pause(run.pk)
    expect(page.locator("#dataset-body")).to_have_attribute("data-phase", re.compile("paused$"))
    page.clock.set_system_time(page.evaluate("Date.now() / 1000 - 3600"))
    progress.request_resume(run.pk)
    expect(page.locator("#dataset-body")).to_have_attribute("data-phase", re.compile("indexing-resume$"))


def test_relative_times_stay_true(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.clock.install()
    page.goto(f"{server.url}/datasets/cats/")
    made = page.locator("main time").first
    expect(made).to_have_text("just now")
    page.clock.run_for(130 * SECONDS)
    expect(made).to_have_text("2 minutes ago")


def test_relative_times_are_those_of_the_server(browser: Browser, server: Server, run: Run) -> None:
    """The clock of this machine is an hour ahead."""
    context = browser.new_context()
    context.add_init_script("const now = Date.now; Date.now = () => now() + 3_600_000;")
    page = context.new_page()
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    report_and_see(run, 10, page)
    created = page.locator("main time").first
    expect(created).to_have_text(re.compile(r"^(just now|\d+ seconds ago|[123] minutes? ago)$"))
    context.close()


def test_similar_images_that_a_busy_server_has_no_time_for_are_asked_for_again(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    sample = make_sample(run.dataset)
    page = visit(f"{server.url}/datasets/cats/")
    asked: list[str] = []

    def busy(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) <= 2:
            route.fulfill(status=503, headers={"Retry-After": "1"}, body="busy")
        else:
            route.continue_()

    page.route(re.compile("similar"), busy)
    page.goto(f"{server.url}/datasets/cats/samples/{sample.pk}/")
    expect(page.locator("main")).to_contain_text("Busy, trying again…")
    expect(page.locator("main")).to_contain_text("Shown once this sample has an embedding.")
    assert len(asked) == 3


def test_large_bar_is_16_pixels_high(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit(f"{server.url}/datasets/cats/")
    track = page.locator("main .dataset-progress [role=progressbar]")
    wait_for_layout(track, "bar => bar.getBoundingClientRect().height === 16")
