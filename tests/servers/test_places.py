"""What is expensive has few places of its own, taken before a thread is; who finds none is told so in time."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import FailedLogIn
from progress_site.servers import health
from progress_site.servers import places as places_of_kinds
from progress_site.servers.health import SharedHealth
from progress_site.servers.places import (
    LIST,
    LOG_IN,
    LOG_IN_PAGE,
    ORIGINAL,
    POLLED,
    READ,
    SIMILAR,
    THUMBNAIL,
    WRITE,
    kind_of,
    places,
)
from progress_site.servers.threads import RequestThreads
from tests.processes import Server

from .views import Scope, Views, status_of


def scope(name: str, *args: object, query: bytes = b"", method: str = "GET", **more: Any) -> Scope:
    path = reverse(name, args=args)
    return {"type": "http", "path": path, "query_string": query, "method": method, "headers": [], **more}


HEADER = scope("progress-header", "cats")
SEARCH = scope("sample", "cats", 7, query=b"similar")
POSTED = scope("login", method="POST")
PAGE = scope("dataset", "cats")
LIST_PAGE = scope("datasets")
REPORT = scope("datasets", method="POST") | {"path": "/api/datasets/cats/progress"}


@pytest.mark.parametrize(
    ("request_scope", "kind"),
    [
        (SEARCH, SIMILAR),
        (scope("sample", "cats", 7, query=b"%73imilar"), SIMILAR),
        (scope("sample", "cats", 7), READ),
        (scope("sample-original", "cats", 7), ORIGINAL),
        (scope("sample-thumbnail", "cats", 7, query=b"h=1"), THUMBNAIL),
        (POSTED, LOG_IN),
        (scope("admin:login", method="POST"), LOG_IN),
        (scope("login"), LOG_IN_PAGE),
        (PAGE, READ),
        (LIST_PAGE, LIST),
        (scope("api:list_datasets", query=b"limit=200"), LIST),
        (scope("api:list_datasets", method="POST"), WRITE),
        (HEADER, POLLED),
        (scope("progress-bar", "cats", query=b"v=1"), POLLED),
        ({**REPORT, "method": "GET"}, POLLED),
        (scope("dataset", "cats", query=b"similar"), READ),
        (scope("dataset", "cats", method="HEAD"), READ),
        (REPORT, WRITE),
        (scope("sample", "cats", 7, method="POST"), WRITE),
        (scope("dataset-control", "cats", method="POST"), WRITE),
    ],
)
def test_kinds_of_requests(request_scope: Scope, kind: str) -> None:
    assert kind_of(request_scope) == kind


async def begun(views: Views, application: Any, request_scope: Scope, count: int) -> list[asyncio.Task[int]]:
    """Send requests and wait until ``count`` of them are under way."""
    tasks = [asyncio.create_task(status_of(application, request_scope)) for _ in range(count)]
    for _ in tasks:
        await views.begun.acquire()
    return tasks


async def test_a_third_search_is_refused_at_once_and_a_page_is_not() -> None:
    views = Views()
    application = RequestThreads(views.answer)
    searches = await begun(views, application, SEARCH, 2)
    assert await status_of(application, SEARCH) == 503
    page = await begun(views, application, PAGE, 1)
    views.go_on.set()
    assert await asyncio.gather(*searches, *page) == [200] * 3
    assert await status_of(application, SEARCH) == 200


@pytest.mark.parametrize(
    "request_scope", [POSTED, LIST_PAGE, REPORT, scope("sample-original", "c", 1), scope("sample-thumbnail", "c", 1)]
)
async def test_others_wait_for_a_place(request_scope: Scope) -> None:
    views = Views()
    application = RequestThreads(views.answer)
    kind = kind_of(request_scope)
    first = await begun(views, application, request_scope, places()[kind])
    following = asyncio.create_task(status_of(application, request_scope))
    await begun(views, application, PAGE, 1)
    assert len(views.under_way) == places()[kind] + 1  # without the one that waits
    views.go_on.set()
    assert await asyncio.gather(*first, following) == [200] * (places()[kind] + 1)


async def test_no_kind_of_request_takes_the_places_of_another() -> None:
    views = Views()
    application = RequestThreads(views.answer)
    crowds = [
        await begun(views, application, request_scope, places()[kind_of(request_scope)])
        for request_scope in (POSTED, REPORT, SEARCH, LIST_PAGE, scope("sample-original", "c", 1))
    ]
    for request_scope in (PAGE, HEADER):  # they begin one after the other
        crowds.append(await begun(views, application, request_scope, 1))
        crowds.append([asyncio.create_task(status_of(application, request_scope)) for _ in range(40)])
    thumbnail = await begun(views, application, scope("sample-thumbnail", "c", 1), 1)
    views.go_on.set()
    assert await asyncio.gather(*thumbnail) == [200]
    for crowd in crowds:
        assert set(await asyncio.gather(*crowd)) == {200}


@pytest.mark.parametrize(("setting", "reads", "writes"), [(1, 1, 1), (6, 6, 3)])
async def test_a_setting_says_how_many_requests_run(
    settings: Any, monkeypatch: pytest.MonkeyPatch, setting: int, reads: int, writes: int
) -> None:
    settings.REQUEST_THREADS = setting
    monkeypatch.setattr(places_of_kinds, "SLOW_SECONDS", 0.0)
    views = Views()
    application = RequestThreads(views.answer)
    crowd = [asyncio.create_task(status_of(application, each)) for each in [PAGE, REPORT] * (setting + 1)]
    for _ in range(reads + writes):
        await views.begun.acquire()
    search = await begun(views, application, SEARCH, 1)  # whatever else could begin has begun
    assert sorted(views.under_way[:-1]) == sorted([PAGE["path"]] * reads + [REPORT["path"]] * writes)
    views.go_on.set()
    assert set(await asyncio.gather(*search, *crowd)) == {200}


async def test_pages_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_of_kinds, "SLOW_SECONDS", 60.0)
    views = Views()
    application = RequestThreads(views.answer)
    first = await begun(views, application, PAGE, 1)
    following = [asyncio.create_task(status_of(application, PAGE)) for _ in range(2)]
    reports = await begun(views, application, REPORT, places()[WRITE])  # whatever else could begin has begun
    assert views.under_way.count(PAGE["path"]) == 1
    views.go_on.set()
    assert await asyncio.gather(*first, *following, *reports) == [200] * (3 + len(reports))


async def test_slow_page_lets_the_next_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_of_kinds, "SLOW_SECONDS", 0.0)
    views = Views()
    application = RequestThreads(views.answer)
    pages = await begun(views, application, PAGE, places()[READ])
    following = asyncio.create_task(status_of(application, PAGE))
    await begun(views, application, REPORT, 1)
    assert views.under_way.count(PAGE["path"]) == places()[READ], "there are no more places"
    views.go_on.set()
    assert await asyncio.gather(*pages, following) == [200] * (len(pages) + 1)
    await views.begun.acquire()  # of the one that followed
    # The turns are as many as before.
    monkeypatch.setattr(places_of_kinds, "SLOW_SECONDS", 60.0)
    views.go_on.clear()
    first = await begun(views, application, PAGE, 1)
    second = asyncio.create_task(status_of(application, PAGE))
    await begun(views, application, REPORT, 1)
    assert views.under_way[-2:] == [PAGE["path"], REPORT["path"]]
    views.go_on.set()
    assert await asyncio.gather(*first, second) == [200, 200]


@pytest.mark.parametrize("request_scope", [PAGE, REPORT])
async def test_who_waits_too_long_is_told_so(request_scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Views()
    application = RequestThreads(views.answer)
    count = places()[kind_of(request_scope)]
    first = await begun(views, application, request_scope, count)
    monkeypatch.setattr(places_of_kinds, "WAIT_SECONDS", 0.05)
    assert await status_of(application, request_scope) == 503
    views.go_on.set()
    assert set(await asyncio.gather(*first)) == {200}
    for _ in range(count + 1):  # who waited in vain kept no place
        assert await status_of(application, request_scope) == 200


async def test_cancelled_report_is_not_run_unless_it_has_begun() -> None:
    views = Views()
    application = RequestThreads(views.answer)
    first = await begun(views, application, REPORT, places()[WRITE])
    waiting = asyncio.create_task(status_of(application, REPORT))
    following = asyncio.create_task(status_of(application, REPORT))
    await begun(views, application, PAGE, 1)  # by now both wait
    for cancelled in (first[0], waiting):
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    views.go_on.set()
    assert set(await asyncio.gather(*first[1:], following)) == {200}
    assert views.under_way.count(REPORT["path"]) == len(first) + 1
    assert set(await asyncio.gather(*await begun(views, application, REPORT, len(first)))) == {200}


async def test_a_request_whose_client_leaves_while_it_waits_is_not_run() -> None:
    views = Views()
    application = RequestThreads(views.answer)
    reports = await begun(views, application, REPORT, places()[WRITE])
    gone = asyncio.Event()
    leaving = asyncio.create_task(status_of(application, REPORT, gone))
    staying = asyncio.create_task(status_of(application, REPORT))
    await begun(views, application, PAGE, 1)  # by now both wait
    gone.set()
    assert await leaving == 503
    views.go_on.set()
    assert await asyncio.gather(*reports, staying) == [200] * (len(reports) + 1)
    assert views.under_way.count(REPORT["path"]) == len(reports) + 1


async def test_who_waits_is_refused_where_the_database_fails() -> None:
    """Otherwise a request would wait for a place, and then as long again for the database."""
    views = Views()
    application = RequestThreads(views.answer)
    reports = await begun(views, application, REPORT, places()[WRITE])
    waiting = [asyncio.create_task(status_of(application, REPORT)) for _ in range(3)]
    page = await begun(views, application, PAGE, 1)  # by now all of them wait
    views.status = 503
    views.go_on.set()
    assert set(await asyncio.gather(*reports, *waiting, *page)) == {503}
    assert views.under_way.count(REPORT["path"]) == places()[WRITE]  # no other began
    views.status = 200
    assert await status_of(application, REPORT) == 200


async def test_a_search_keeps_its_place_after_its_client_has_left() -> None:
    views = Views()
    application = RequestThreads(views.answer)
    for search in await begun(views, application, SEARCH, 2):
        search.cancel()
        with suppress(asyncio.CancelledError):
            await search
    assert await status_of(application, SEARCH) == 503
    views.go_on.set()


# --- Health ----------------------------------------------------------------------------------------------------------

HEALTH = scope("health", scheme="http")


async def test_health_is_asked_by_one_and_told_to_all() -> None:
    views = Views()
    application = SharedHealth(RequestThreads(views.answer))
    first = asyncio.create_task(status_of(application, HEALTH))
    await views.begun.acquire()
    others = [asyncio.create_task(status_of(application, HEALTH)) for _ in range(400)]
    elsewhere = asyncio.create_task(status_of(application, {**HEALTH, "headers": [(b"host", b"elsewhere")]}))
    await asyncio.sleep(0)
    first.cancel()  # whoever asked may leave
    views.go_on.set()
    assert set(await asyncio.gather(*others, elsewhere)) == {200}
    assert views.under_way == ["/health/"] * 2
    assert await status_of(application, HEALTH) == 200
    assert len(views.under_way) == 3  # no answer is old


async def test_health_that_is_not_answered_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WAIT_SECONDS", 0.05)
    views = Views()
    application = SharedHealth(RequestThreads(views.answer))
    assert await asyncio.gather(*(status_of(application, HEALTH) for _ in range(3))) == [503] * 3
    assert await status_of(application, HEALTH) == 503
    assert len(views.under_way) == 1
    views.go_on.set()


# --- On a real server ------------------------------------------------------------------------------------------------


def test_log_ins_that_hang_hold_up_no_page(server: Server, transactional_db: None) -> None:
    """More log-ins than there are threads wait for the database, which is locked for a while."""
    token = "a" * 32
    body = f"csrfmiddlewaretoken={token}&username=ada&password=wrong"
    log_in = (
        f"POST /accounts/login/ HTTP/1.1\r\nHost: {server.host}\r\nCookie: csrftoken={token}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    assert httpx.get(server.url, timeout=60).status_code == 200  # the server has imported its pages
    with ExitStack() as stack:
        stack.enter_context(transaction.atomic())
        FailedLogIn.objects.create(account="", address="", at=timezone.now())  # takes the lock
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(2 * sum(places().values()))
        ]
        for line in lines:
            line.sendall(log_in)
        for _ in range(3):  # over connections that the server accepts after those of the log-ins
            assert httpx.get(server.url, timeout=60).status_code == 200
        assert select.select(lines, [], [], 0)[0] == []  # none of them was answered before
        assert lines[0].recv(12) == b"HTTP/1.1 503"
