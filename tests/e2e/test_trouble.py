"""What a page and its link go through besides: lines that are silent, answers that are wrong, datasets that are gone
and there again, and people who are in the middle of something.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client
from playwright.sync_api import Error, Page, Response, Route, WebSocketRoute, expect

from apps.datasets.models import Dataset, Sample
from apps.live.rendering import KEEPALIVE
from apps.progress import services as progress
from apps.progress.models import Run
from tests.processes import Server, web_server

from .conftest import ASKING, SECONDS, TOTAL, give_up, is_live, pass_time, report_and_see, see
from .relay import relay

CONNECTION = "#connection"
GONE = "× This dataset is no longer available"


# Datasets other than dogs that the page has shown.
NOTE_STRANGERS = """
window.strangers = [];
new MutationObserver(() => {
  const { dataset } = document.querySelector('main .dataset-progress').dataset;
  if (dataset !== 'dogs') window.strangers.push(dataset);
}).observe(document, {subtree: true, childList: true, attributes: true});
"""


def make(run: Run) -> Run:
    """The dataset of ``run`` anew, under the same id, with a run that is under way."""
    Dataset.objects.filter(pk=run.dataset_id).delete()
    dataset = Dataset.objects.create(dataset_id="cats", visibility=Dataset.Visibility.PUBLIC)
    new = progress.begin_run(dataset, [progress.StagePlan("index", total=TOTAL)])
    return progress.start_stage(new.pk, "index")


def visit_and_poll(visit: Callable[..., Page], url: str) -> Page:
    """A page that can have no socket, and polls. Its clock is ours."""
    page = visit("about:blank")
    page.route_web_socket("**/progress/live/**", lambda socket: socket.close())
    page.clock.install()
    page.goto(url)
    give_up(page)
    return page


def let_go(page: Page, held: list[Route]) -> None:
    """Have requests answered that were held, and those to come."""
    page.unroute_all()
    for route in held:
        with suppress(Error):  # where it is asked for no more
            route.continue_()


def let_answers_come(page: Page) -> None:
    """Wait for an answer that comes behind those to whatever was asked for before."""
    page.evaluate("fetch('/health/').then(answer => answer.text())")


def is_wrong(response: Response) -> bool:
    return response.status == 404


def test_socket_that_is_asked_for_in_vain_is_given_up(visit: Callable[..., Page], server: Server, run: Run) -> None:
    with relay(server.port) as line:
        line.swallows_sockets = True
        page = visit("about:blank")
        page.clock.install()
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{line.url}/datasets/cats/")
        give_up(page)
        report_and_see(run, 10, page)
        line.swallows_sockets = False
        before = len(sockets)
        pass_time(page, lambda: len(sockets) > before, "it does not try another")
        is_live(page)
        report_and_see(run, 20, page)


def test_state_is_asked_for_before_the_socket_is_given_up(visit: Callable[..., Page], server: Server, run: Run) -> None:
    with relay(server.port) as line:
        line.swallows_sockets = True
        page = visit("about:blank")
        page.clock.install()
        page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
        with page.expect_websocket():
            page.goto(f"{line.url}/datasets/cats/")
        progress.report(run.pk, current=10)
        page.clock.run_for(2 * SECONDS)
        see(page, 10)
        progress.report(run.pk, current=20)
        page.clock.run_for(2 * SECONDS)
        see(page, 20)


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
        let_answers_come(page)
    assert 1 <= len(asked) - 2 <= 8, len(asked)  # every 1.6 to 2 s


def test_line_that_has_fallen_silent_is_left(visit: Callable[..., Page], server: Server, run: Run) -> None:
    with relay(server.port) as line:
        page = visit("about:blank")
        page.clock.install()
        page.goto(f"{line.url}/datasets/cats/")
        is_live(page)
        line.freeze()
        progress.report(run.pk, current=10)
        page.clock.run_for(18 * SECONDS)
        see(page, 10, seconds=15)  # sooner than the server gives the line up
        is_live(page)
        report_and_see(run, 20, page)


def test_page_that_has_slept_asks_and_connects_at_once(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.clock.install()
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    sockets: list[str] = []
    asked: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.on("request", lambda request: asked.append(request.url) if "/progress/bar/" in request.url else None)
    page.clock.fast_forward(120 * SECONDS)  # as the clock of a laptop that is opened again
    report_and_see(run, 10, page)
    is_live(page)
    assert len(sockets) == 1
    assert asked


def test_network_that_is_gone_is_said_to_be(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit(f"{server.url}/datasets/cats/")
    is_live(page)
    page.context.set_offline(True)
    # Sooner than a line that is silent is left.
    expect(page.locator(CONNECTION)).to_have_text(re.compile("Offline since|Reconnecting"), timeout=10 * SECONDS)
    progress.report(run.pk, current=10)
    page.context.set_offline(False)
    see(page, 10)
    is_live(page)


def test_dataset_that_is_made_again_is_followed(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page, rows = visit(f"{server.url}/datasets/cats/"), visit(f"{server.url}/")
    is_live(page)
    is_live(rows)
    new = make(run)
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
    again = make(new)
    report_and_see(again, 20, page)
    is_live(page)
    # Nor is the rest of the page that of a run of the same number which has ended the same way.
    progress.finish(again.pk)
    body = page.locator("#dataset-body")
    expect(body).to_have_attribute("data-phase", re.compile("ready$"))
    body.evaluate("body => body.setAttribute('data-of-the-first', '')")
    with transaction.atomic():
        progress.finish(make(again).pk)
    expect(body).not_to_have_attribute("data-of-the-first", "")


def test_row_that_may_not_be_seen_any_more_is_gone_at_once(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    rows = visit(f"{server.url}/")
    is_live(rows)
    Dataset.objects.filter(pk=run.dataset_id).update(visibility=Dataset.Visibility.PRIVATE)
    expect(rows.get_by_role("link", name="cats", exact=True)).to_have_count(0)
    expect(rows.locator(CONNECTION)).to_have_text("● Live")


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


def test_session_that_is_renewed_keeps_other_tabs(visit: Callable[..., Page], server: Server, run: Run) -> None:
    Dataset.objects.filter(pk=run.dataset_id).update(visibility=Dataset.Visibility.PRIVATE)
    run.dataset.members.add(member := User.objects.create_user("member"))
    first, second = Client(), Client()
    first.force_login(member)
    page = visit(f"{server.url}/datasets/cats/", first.cookies["sessionid"].value)
    is_live(page)
    second.force_login(member)
    cookie = {"name": "sessionid", "value": second.cookies["sessionid"].value, "url": server.url}
    page.context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict of its own
    with page.expect_websocket():
        Session.objects.filter(pk=first.cookies["sessionid"].value).delete()
    is_live(page)
    report_and_see(run, 10, page)


def make_sample(dataset: Dataset) -> Sample:
    return Sample.objects.create(
        dataset=dataset, path="a.jpg", sha256="0" * 64, size=1, width=1, height=1, format="JPEG",
        thumbnail_width=1, thumbnail_height=1, seen_in_run=1, mtime_ns=0,
    )  # fmt: skip


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
    let_answers_come(page)
    assert [url for url in asked if not url.endswith("/health/")] == []
    again = progress.begin_run(run.dataset, [progress.StagePlan("index", total=TOTAL)])
    expect(header).to_have_attribute("hx-trigger", "every 3s")
    progress.start_stage(again.pk, "index")
    page.clock.run_for(3 * SECONDS)
    expect(header).to_contain_text(re.compile(r"(?<!\d)0%"))


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
    summary = page.locator("summary").first
    summary.click()
    expect(summary).to_be_focused()
    progress.request_resume(run.pk)
    expect(pause).to_be_visible()
    expect(summary).to_be_focused()
    expect(page.locator("#history-runs")).to_have_attribute("open", "")
    sample = page.locator("#samples a").first
    sample.focus()
    progress.finish(run.pk)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(sample).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("cats: Ready")


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


def test_older_answer_does_not_replace_a_newer_one(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    old = page.evaluate("() => fetch('progress/bar/').then(answer => answer.text())")
    old_header = page.evaluate("() => fetch('progress/header/').then(answer => answer.text())")
    report_and_see(run, 10, page)
    page.evaluate("html => htmx.swap(document.getElementById('dataset-live').parentElement, html, {swapStyle: 'none'})",
        old.replace('id="dataset-live"', 'id="dataset-live" hx-swap-oob="true"', 1),
    )  # fmt: skip
    see(page, 10)
    page.route("**/progress/bar/**", lambda route: route.fulfill(body=old, content_type="text/html"))
    page.route("**/progress/header/**", lambda route: route.fulfill(body=old_header, content_type="text/html"))
    with page.expect_response("**/progress/header/**"):
        pass
    with page.expect_response("**/progress/bar/**"):
        page.evaluate("window.dispatchEvent(new Event('online'))")
    see(page, 10)
    report_and_see(run, 20, page)


def test_page_over_the_limit_of_its_address_polls(visit: Callable[..., Page], run: Run, tmp_path: Path) -> None:
    with web_server(tmp_path / "log", env={"SOCKETS_PER_ADDRESS": "1"}) as server:
        first, second = visit(f"{server.url}/datasets/cats/"), visit("about:blank")
        is_live(first)
        sockets: list[str] = []
        second.on("websocket", lambda socket: sockets.append(socket.url))
        second.goto(f"{server.url}/datasets/cats/")
        expect(second.locator(CONNECTION)).to_have_text(ASKING)
        assert len(sockets) == 1
        report_and_see(run, 10, first, second)


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
    let_answers_come(page)
    assert asked == []


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
        let_answers_come(page)
    for place in ("#dataset-body", "#dataset-live"):
        expect(page.locator(place)).to_have_attribute("data-phase", re.compile("indexing$"))
    assert len(fetched) == 1


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
    expect(page.locator(CONNECTION)).to_have_text(re.compile("Offline since"))
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


def test_clock_that_is_set_back_holds_nothing_up(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.clock.install()
    page.goto(f"{server.url}/datasets/cats/")
    is_live(page)
    progress.request_pause(run.pk)
    expect(page.locator("#dataset-body")).to_have_attribute("data-phase", re.compile("paused$"))
    page.clock.set_system_time(page.evaluate("Date.now() / 1000 - 3600"))
    progress.request_resume(run.pk)
    expect(page.locator("#dataset-body")).to_have_attribute("data-phase", re.compile("indexing$"))


def test_polled_list_leaves_links_alone(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit_and_poll(visit, f"{server.url}/")
    link = page.get_by_role("link", name="cats", exact=True)
    link.focus()
    page.evaluate("window.focused = 0; document.addEventListener('focusin', () => window.focused++)")
    for share in (4, 2):
        progress.report(run.pk, current=TOTAL // share)
        expect(page.locator("#row-cats")).to_contain_text(f"{100 // share}%")
    expect(link).to_be_focused()
    assert page.evaluate("window.focused") == 0


def test_list_that_could_not_fetch_its_new_rows_fetches_them_again(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    page = visit(f"{server.url}/")
    is_live(page)
    page.route(f"{server.url}/*", lambda route: route.fulfill(body="<p>Be back soon</p>", content_type="text/html"))
    with page.expect_response(f"{server.url}/*"):
        Dataset.objects.create(dataset_id="dogs", visibility=Dataset.Visibility.PUBLIC)
    page.unroute_all()
    # Sooner than after the minute when rows are old in any case.
    expect(page.get_by_role("link", name="dogs", exact=True)).to_be_visible(timeout=30 * SECONDS)


def test_list_whose_rows_change_while_its_socket_is_opened_opens_another(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    page = visit("about:blank")
    page.clock.install()
    asked: list[str] = []
    page.route_web_socket("**/progress/live/**", lambda socket: asked.append(socket.url))  # and it hears nothing
    page.goto(f"{server.url}/")
    give_up(page)
    held: list[Route] = []
    page.route(re.compile(r"/(\?.*)?$"), lambda route: held.append(route))
    pass_time(page, lambda: held, "it does not poll")
    Dataset.objects.create(dataset_id="dogs", visibility=Dataset.Visibility.PUBLIC)
    before = len(asked)
    pass_time(page, lambda: len(asked) > before, "it does not try another socket")
    let_go(page, held)  # and the answer comes while the socket is being opened
    expect(page.get_by_role("link", name="dogs", exact=True)).to_be_visible()
    assert [("id=dogs" in url) for url in asked[before:]] == [False, True]


def test_changes_that_come_together_are_all_announced(visit: Callable[..., Page], server: Server, run: Run) -> None:
    dogs = Dataset.objects.create(dataset_id="dogs", visibility=Dataset.Visibility.PUBLIC)
    other = progress.begin_run(dogs)
    page = visit(f"{server.url}/")
    is_live(page)
    with transaction.atomic():
        progress.finish(run.pk)
        progress.finish(other.pk)
    announced = page.locator("#announcer")
    expect(announced).to_contain_text("cats: Ready")
    expect(announced).to_contain_text("dogs: Ready")


def test_relative_times_stay_true(visit: Callable[..., Page], server: Server, run: Run) -> None:
    page = visit("about:blank")
    page.clock.install()
    page.goto(f"{server.url}/datasets/cats/")
    made = page.locator("main time").first
    expect(made).to_have_text("just now")
    page.clock.run_for(130 * SECONDS)
    expect(made).to_have_text("2 minutes ago")
