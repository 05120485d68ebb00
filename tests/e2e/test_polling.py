"""Answers to a page that polls: late, old, foreign or wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, WebSocketRoute, expect

from apps.datasets.models import Dataset
from apps.live.rendering import KEEPALIVE
from apps.progress import services as progress
from apps.progress.models import Run
from tests.processes import Server

from .answers import is_wrong, let_go, visit_and_poll, wait_for_answers
from .conftest import ASKING, CONNECTION, SECONDS, is_live, pass_time, report_and_see, see


def test_answer_that_comes_late_makes_no_second_poller(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    lines: list[WebSocketRoute] = []
    page.route_web_socket("**/progress/live/", lambda line: lines.append(line))  # which nobody answers
    held: list[Route] = []
    page.route("**/progress/bar/**", lambda route: held.append(route) if len(held) < 2 else route.continue_())
    page.goto(f"{server.url}/datasets/cats/")
    pass_time(page, lambda: len(held) == 1, "it does not poll")
    lines[-1].send(KEEPALIVE)
    is_live(page)
    lines[-1].close()
    pass_time(page, lambda: len(held) == 2, "it does not poll again")
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(answer.url) if "/progress/bar/" in answer.url else None)
    for route in held:
        route.continue_()
    pass_time(page, lambda: len(asked) == 2, "it is not answered")
    for _ in range(20):
        page.clock.run_for(SECONDS // 2)
        wait_for_answers(page)
    assert 1 <= len(asked) - 2 <= 8, len(asked)  # every 1.6 to 2 s


# Datasets other than dogs that the page has shown.
NOTE_STRANGERS = """
window.strangers = [];
new MutationObserver(() => {
  const { dataset } = document.querySelector('main .dataset-progress').dataset;
  if (dataset !== 'dogs') window.strangers.push(dataset);
}).observe(document, {subtree: true, childList: true, attributes: true});
"""


def test_answer_for_a_page_that_was_left_is_not_shown_on_the_next(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    Dataset.objects.create(dataset_id="dogs", visibility=Dataset.Visibility.PUBLIC)
    page = visit_and_poll(visit, f"{server.url}/datasets/cats/")
    held: list[Route] = []
    page.route("**/cats/progress/bar/**", lambda route: held.append(route))
    progress.report(run.pk, current=10)
    with page.expect_request("**/cats/progress/bar/**"):
        pass
    page.evaluate("htmx.ajax('GET', '/datasets/dogs/', {target: 'body', swap: 'innerHTML'})")
    bar = page.locator("main .dataset-progress").first
    expect(bar).to_have_attribute("data-dataset", "dogs")
    page.evaluate(NOTE_STRANGERS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    let_go(page, held)
    for _ in range(3):
        with page.expect_response("**/dogs/progress/bar/**"):
            pass
    assert page.evaluate("window.strangers") == []
    assert [url for url in asked if "/cats/" in url] == []


def test_older_answer_does_not_replace_a_newer_one(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    old = page.evaluate("() => fetch('progress/bar/').then(answer => answer.text())")
    held: list[Route] = []
    page.route("**/progress/bar/**", lambda route: held.append(route))
    with page.expect_request("**/progress/bar/**"):
        page.evaluate("window.dispatchEvent(new Event('offline'))")
    report_and_see(run, 10, page)
    page.evaluate("html => htmx.swap(document.getElementById('dataset-live').parentElement, html, {swapStyle: 'none'})",
        old.replace('id="dataset-live"', 'id="dataset-live" hx-swap-oob="true"', 1),
    )  # fmt: skip
    see(page, 10)
    for route in held:  # asked for before the newer state came, and answered after it
        route.fulfill(body=old, content_type="text/html")
    wait_for_answers(page)
    see(page, 10)
    page.unroute_all()
    report_and_see(run, 20, page)


def test_server_that_answers_errors_is_polled_ever_less_often(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    page = visit("about:blank")
    page.clock.install()
    asked: list[str] = []

    def broken(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/progress/bar/**", broken)
    page.route("**/progress/header/**", broken)
    page.route_web_socket("**/progress/live/", lambda socket: socket.close())
    page.goto(f"{server.url}/datasets/cats/")
    for _ in range(24):
        page.clock.run_for(5 * SECONDS)
    expect(page.locator(CONNECTION)).to_have_text(re.compile("Offline since"))
    bars = [url for url in asked if "/bar/" in url]
    assert 4 <= len(bars) <= 20, len(bars)
    assert 4 <= len(asked) - len(bars) <= 20
    page.unroute_all()
    page.clock.run_for(60 * SECONDS)
    report_and_see(run, 10, page)


def test_one_wrong_answer_does_not_end_polling(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit_and_poll(visit, f"{server.url}/datasets/cats/")
    wrong: list[str] = []

    def once(route: Route) -> None:
        if wrong:
            route.continue_()
            return
        wrong.append(route.request.url)
        route.fulfill(status=404, body="not here")

    page.route("**/progress/bar/**", once)
    if not wrong:
        page.wait_for_event("response", is_wrong)
    report_and_see(run, 10, page)
    report_and_see(run, 20, page)
    expect(page.locator(CONNECTION)).to_have_text(ASKING)


def test_foreign_answer_is_no_news(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.route_web_socket("**/progress/live/**", lambda socket: socket.close())
    page.route("**/progress/bar/**", lambda route: route.fulfill(body="<h1>Sign in</h1>", content_type="text/html"))
    page.goto(f"{server.url}/datasets/cats/")
    expect(page.locator(CONNECTION)).to_have_text(re.compile("Offline since"))
    page.unroute_all()
    report_and_see(run, 10, page)
    page.goto(f"{server.url}/")
    page.route(f"{server.url}/*", lambda route: route.fulfill(body="<h1>Sign in</h1>", content_type="text/html"))
    expect(page.locator(CONNECTION)).to_have_text(re.compile("Offline since"))
