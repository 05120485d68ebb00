"""Sockets that are silent, refused, lost or closed: the page asks meanwhile, and returns to one that speaks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from playwright.sync_api import Page, expect

from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.models import Run
from tests.processes import Server, web_server

from .conftest import ASKING, CONNECTION, SECONDS, give_up, is_live, pass_time, report_and_see, see
from .relay import relay


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
