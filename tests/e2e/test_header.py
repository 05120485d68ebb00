"""The header's polling: it rests, wakes, waits after errors, and forgets them."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from apps.progress import services as progress
from apps.progress.models import Run
from tests.processes import Server

from .answers import is_wrong, let_go, wait_for_answers
from .conftest import CONNECTION, SECONDS, TOTAL, is_live, make_sample, pass_time, report_and_see


def test_one_wrong_answer_is_not_the_end(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    wrong: list[str] = []

    def once(route: Route) -> None:
        if len(wrong) < 1:
            wrong.append(route.request.url)
            route.fulfill(status=404, body="not here")
        else:
            route.continue_()

    page.clock.install()
    page.route("**/progress/header/**", once)
    header = page.locator("#progress-header")
    with page.expect_response(is_wrong):
        page.goto(f"{server.url}/datasets/cats/")
        is_live(page)
        expect(header).to_have_attribute("hx-trigger", "every 3s")
        page.clock.run_for(3 * SECONDS)
    report_and_see(run, TOTAL // 2, page)
    is_live(page)
    page.clock.run_for(6 * SECONDS)  # not thirty, after which it would ask in any case
    expect(header).to_contain_text("50%", timeout=10 * SECONDS)


def test_header_of_a_page_without_a_bar_rests_and_wakes(visit: Callable[..., Page], server: Server, run: Run) -> None:
    sample = make_sample(run.dataset)
    page = visit("about:blank")
    page.clock.install()
    with page.expect_websocket() as socket:
        page.goto(f"{server.url}/datasets/cats/samples/{sample.pk}/")
    is_live(page)
    header = page.locator("#progress-header")
    expect(header).to_have_attribute("hx-trigger", "every 3s")
    progress.report(run.pk, current=TOTAL // 2)
    page.clock.run_for(3 * SECONDS)
    expect(header).to_contain_text("50%")
    progress.finish(run.pk)
    page.clock.run_for(3 * SECONDS)
    expect(header).not_to_have_attribute("hx-trigger", re.compile(".*"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(6 * SECONDS)
    socket.value.wait_for_event("framereceived")  # that the line is open
    wait_for_answers(page)
    assert [url for url in asked if not url.endswith("/health/")] == []
    again = progress.begin_run(run.dataset, [progress.StagePlan("index", total=TOTAL)])
    expect(header).to_have_attribute("hx-trigger", "every 3s")
    progress.start_stage(again.pk, "index")
    page.clock.run_for(3 * SECONDS)
    expect(header).to_contain_text(re.compile(r"(?<!\d)0%"))


def test_foreign_answer_does_not_take_the_headers_place(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    sign_in = "<!DOCTYPE html><title>Sign in</title><h1>Sign in</h1>"
    page.route("**/progress/header/**", lambda route: route.fulfill(body=sign_in, content_type="text/html"))
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    with page.expect_response("**/progress/header/**"):
        pass
    expect(page.get_by_role("heading", name="Sign in")).to_have_count(0)
    page.unroute_all()
    progress.report(run.pk, current=TOTAL // 2)
    expect(page.locator("#progress-header")).to_contain_text("50%")


def test_new_run_is_pushed_with_its_header(visit: Callable[..., Page], server: Server, run: Run) -> None:
    progress.finish(run.pk)
    page = visit(f"{server.url}/datasets/cats/")
    is_live(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/progress/header/" in request.url else None)
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))  # nothing polls
    progress.begin_run(run.dataset)
    expect(page.locator("#progress-header")).to_have_attribute("hx-trigger", "every 3s")
    expect(page.locator("main .dataset-progress").first).to_have_attribute("data-state", "pending")
    wait_for_answers(page)
    assert asked == []


def test_header_is_back_with_the_server(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.clock.install()
    page.route_web_socket("**/progress/live/**", lambda socket: socket.close())
    headers: list[str] = []
    held: list[Route] = []

    def broken(route: Route) -> None:
        if "/header/" in route.request.url:
            headers.append(route.request.url)
        route.fulfill(status=503)

    page.route(re.compile("/progress/(bar|header)/"), broken)
    page.goto(f"{server.url}/datasets/cats/")
    for _ in range(24):
        page.clock.run_for(5 * SECONDS)
    expect(page.locator(CONNECTION)).to_have_text(re.compile(r"Offline since \d\d:\d\d$"))
    moving = page.locator(".animate-spin, .animate-shimmer")
    for element in moving.all():
        expect(element).to_have_css("animation-play-state", "paused")
    assert moving.count() > 0
    progress.report(run.pk, current=TOTAL // 2)
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    page.route("**/progress/bar/**", lambda route: held.append(route))
    pass_time(page, lambda: held, "it does not poll")
    failed = len(headers)
    pass_time(page, lambda: len(headers) > failed, "the header does not poll")  # which waits for half a minute now
    let_go(page, held)
    shown = page.locator("main .dataset-progress").first
    pass_time(page, lambda: f"({TOTAL // 2}/" in shown.inner_text(), "the bar is not shown")
    page.clock.run_for(4 * SECONDS)
    expect(page.locator("#progress-header")).to_contain_text("50%")


def test_header_forgets_its_failures_with_the_first_answer(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    page = visit("about:blank")
    page.clock.install()
    failures = 0

    def answer(route: Route) -> None:
        nonlocal failures
        if failures < 3:
            failures += 1
            route.fulfill(status=503)
        else:  # always with something new, as where the dataset moves fast
            route.continue_(url=route.request.url.partition("?")[0])

    page.route("**/progress/header/**", answer)
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    for share in (4, 2):
        failures = 0
        pass_time(page, lambda: failures == 3, "the header does not poll")  # noqa: B023 -- called at once
        progress.report(run.pk, current=TOTAL // share)
        page.clock.run_for(15 * SECONDS)  # it waits for twelve after the third failure, and for thirty after the sixth
        expect(page.locator("#progress-header")).to_contain_text(f"{100 // share}%", timeout=10 * SECONDS)
