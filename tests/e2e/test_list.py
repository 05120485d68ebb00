"""The list of datasets: rows that come and go, links that keep the focus, changes that come together."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from playwright.sync_api import Page, Route, expect

from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.models import Run
from apps.progress.services import StagePlan
from tests.processes import Server

from .answers import let_go, visit_and_poll
from .conftest import SECONDS, TOTAL, give_up, is_live, pass_time, wait_for_layout


def test_row_that_may_not_be_seen_any_more_is_gone_at_once(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    rows = visit(f"{server.url}/")
    is_live(rows)
    Dataset.objects.filter(pk=run.dataset_id).update(visibility=Dataset.Visibility.PRIVATE)
    expect(rows.get_by_role("link", name="cats", exact=True)).to_have_count(0)
    is_live(rows)


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


def test_search_is_kept_over_a_reload_and_by_the_back_button(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    Dataset.objects.create(dataset_id="dogs", visibility=Dataset.Visibility.PUBLIC)
    page = visit(f"{server.url}/")
    is_live(page)
    cats, dogs = (page.get_by_role("link", name=name, exact=True) for name in ("cats", "dogs"))
    page.keyboard.press("/")
    page.keyboard.type("CAT")
    expect(dogs).to_have_count(0)
    expect(page).to_have_url(f"{server.url}/?q=CAT")
    page.reload()
    expect(cats).to_be_visible()
    expect(dogs).to_have_count(0)
    cats.click()
    expect(page).to_have_url(re.compile("/datasets/cats/$"))
    page.go_back()
    expect(page.locator("#search")).to_have_value("CAT")
    expect(dogs).to_have_count(0)
    page.locator("#search").fill("")
    expect(dogs).to_be_visible()
    expect(page).to_have_url(f"{server.url}/")


def test_sweep_goes_on_over_the_row_that_moves(visit: Callable[..., Page], server: Server, run: Run) -> None:
    dogs = Dataset.objects.create(dataset_id="dogs", visibility=Dataset.Visibility.PUBLIC)
    progress.start_stage(progress.begin_run(dogs, [StagePlan("index", total=TOTAL)]).pk, "index")
    page = visit(f"{server.url}/")
    is_live(page)
    page.evaluate("document.addEventListener('animationend', (event) => event.stopPropagation(), true)")  # it stays
    progress.finish(run.pk)
    row = page.locator("li.row[data-phase$=ready]")
    expect(row).to_be_visible()  # below the other one, in a group of its own
    expect(page.locator(".sweep")).to_have_count(1)
    top = "Math.round(document.querySelector('{}').getBoundingClientRect().top)"
    wait_for_layout(page.locator("body"), f"() => {top.format('.sweep')} === {top.format('li.row[data-phase$=ready]')}")


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


def test_rows_are_chosen_by_keyboard_and_stay_chosen_while_the_list_moves(
    visit: Callable[..., Page], server: Server, run: Run
) -> None:
    owner = User.objects.create_user("olga")
    Dataset.objects.update(owner=owner)
    for dataset_id in ("ants", "bees"):
        dataset = Dataset.objects.create(dataset_id=dataset_id, visibility="public", owner=owner)
        progress.start_stage(progress.begin_run(dataset, [StagePlan("index", total=TOTAL)]).pk, "index")
    client = Client()
    client.force_login(owner)
    page = visit(f"{server.url}/", client.cookies["sessionid"].value)
    is_live(page)
    bar = page.locator("#chosen")
    expect(bar).not_to_be_visible()
    for key in "jxjjx":
        page.keyboard.press(key)
    expect(bar).to_contain_text("2 chosen")
    with transaction.atomic():  # the rows are fetched again
        progress.finish(progress.begin_run(Dataset.objects.create(dataset_id="new", visibility="public")).pk)
    expect(page.locator("#row-new")).to_contain_text("Ready")
    expect(page.locator("#choose-ants")).to_be_checked()
    expect(page.locator("#choose-bees")).not_to_be_checked()
    bar.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1")).to_have_text("Cancel 2 runs?")
    page.get_by_role("link", name="Go back").click()
    page.locator("#choose-cats").check()
    page.get_by_role("button", name="All on this page").click()
    expect(bar).to_contain_text("3 chosen")
    bar.get_by_role("button", name="Pause").click()
    expect(page.locator("#messages")).to_contain_text("3 datasets: pausing.")
    for dataset_id in ("ants", "bees", "cats"):
        expect(page.locator(f"#row-{dataset_id}")).to_contain_text("Pausing…")


ROWS_IN_VIEW = """() => [...document.querySelectorAll('.row')].filter(row => {
    const { top, bottom } = row.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
}).length"""


def test_screen_of_a_laptop_holds_twenty_rows(visit: Callable[..., Page], server: Server, run: Run) -> None:
    states = ["ready"] * 12 + ["error"] * 7 + ["indexing"] * 9 + ["paused", "pending"]
    for number, state in enumerate(states):
        dataset = Dataset.objects.create(dataset_id=f"set-{number:02}", visibility="public")
        begun = progress.begin_run(dataset, [StagePlan("index", total=TOTAL)])
        if state != "pending":
            progress.start_stage(begun.pk, "index", total=TOTAL)
        if state == "paused":
            progress.request_pause(begun.pk)
            progress.acknowledge(begun.pk)
        elif state == "error":
            progress.fail(begun.pk, "CUDA out of memory")
        elif state == "ready":
            progress.finish(begun.pk)
    page = visit("about:blank")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{server.url}/")
    expect(page.locator(".row")).to_have_count(31)
    expect(page.locator(".row-heading")).to_have_count(5)
    heights = page.locator(".row").evaluate_all("rows => rows.map(row => row.getBoundingClientRect().height)")
    assert 40 <= min(heights) <= max(heights) <= 44
    assert page.evaluate(ROWS_IN_VIEW) >= 17
    page.locator(".row").first.evaluate("row => row.scrollIntoView()")
    assert page.evaluate(ROWS_IN_VIEW) >= 20
