"""What tests do with the answers to a page: hold them, let them go, wait for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from playwright.sync_api import Error, Page, Response, Route

from .conftest import give_up


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


def wait_for_answers(page: Page) -> None:
    """Wait for an answer that comes behind those to whatever was asked for before."""
    page.evaluate("fetch('/health/').then(answer => answer.text())")


def is_wrong(response: Response) -> bool:
    return response.status == 404
