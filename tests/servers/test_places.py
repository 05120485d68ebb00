"""What is expensive has few places of its own, taken before a thread is; who finds none is told so in time."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import FailedLogIn
from progress_site.servers import health, places
from progress_site.servers.health import SharedHealth
from progress_site.servers.places import LIST, LOG_IN, MAX_THREADS, ORIGINAL, PLACES, SIMILAR, THUMBNAIL, kind_of
from progress_site.servers.threads import RequestThreads
from tests.processes import Server

Scope = dict[str, Any]


def scope(name: str, *args: object, query: bytes = b"", method: str = "GET", **more: Any) -> Scope:
    path = reverse(name, args=args)
    return {"type": "http", "path": path, "query_string": query, "method": method, "headers": [], **more}


SEARCH = scope("sample", "cats", 7, query=b"similar")
POSTED = scope("login", method="POST")
PAGE = scope("dataset", "cats")
LIST_PAGE = scope("datasets")


@pytest.mark.parametrize(
    ("request_scope", "kind"),
    [
        (SEARCH, SIMILAR),
        (scope("sample", "cats", 7, query=b"%73imilar"), SIMILAR),
        (scope("sample", "cats", 7), None),
        (scope("sample-original", "cats", 7), ORIGINAL),
        (scope("sample-thumbnail", "cats", 7, query=b"h=1"), THUMBNAIL),
        (POSTED, LOG_IN),
        (scope("admin:login", method="POST"), LOG_IN),
        (scope("login"), None),
        (PAGE, None),
        (LIST_PAGE, LIST),
        (scope("api:list_datasets", query=b"limit=200"), LIST),
        (scope("api:list_datasets", method="POST"), None),
        (scope("dataset", "cats", query=b"similar"), None),
    ],
)
def test_kinds_of_requests(request_scope: Scope, kind: str | None) -> None:
    assert kind_of(request_scope) == kind


class Views:
    """An application whose view runs in a thread until `go_on` is set."""

    def __init__(self) -> None:
        self.under_way: list[str] = []
        self.begun = asyncio.Semaphore(0)
        self.go_on = threading.Event()
        self.status = 200

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()

        def view() -> None:
            self.under_way.append(scope["path"])
            loop.call_soon_threadsafe(self.begun.release)
            self.go_on.wait()

        await sync_to_async(view)()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


async def status_of(application: Any, request_scope: Scope) -> int:
    """Return the status with which a request is answered."""
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    await asyncio.sleep(0)  # let the loop run also where the answer waits for nothing
    await application(request_scope, None, send)
    status: int = messages[0]["status"]
    return status


async def served(application: Any, request_scope: Scope) -> None:
    """Send a request until it is served: a thread gives its places back shortly after its answer was sent."""
    async with asyncio.timeout(30):
        while await status_of(application, request_scope) == 503:
            pass


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAIT_SECONDS", 0.05)


async def begun(views: Views, application: Any, request_scope: Scope, count: int) -> list[asyncio.Task[int]]:
    """Send requests and wait until ``count`` of them are under way."""
    tasks = [asyncio.create_task(status_of(application, request_scope)) for _ in range(count)]
    for _ in tasks:
        await views.begun.acquire()
    return tasks


async def test_a_third_search_is_refused_at_once_and_a_page_is_not() -> None:
    views = Views()
    application = RequestThreads(views)
    searches = await begun(views, application, SEARCH, 2)
    assert await status_of(application, SEARCH) == 503
    page = await begun(views, application, PAGE, 1)
    views.go_on.set()
    assert await asyncio.gather(*searches, *page) == [200] * 3
    await served(application, SEARCH)


@pytest.mark.parametrize(
    "request_scope", [POSTED, LIST_PAGE, scope("sample-original", "c", 1), scope("sample-thumbnail", "c", 1)]
)
async def test_others_wait_for_a_place(request_scope: Scope) -> None:
    views = Views()
    application = RequestThreads(views)
    kind = kind_of(request_scope)
    assert kind is not None
    first = await begun(views, application, request_scope, PLACES[kind])
    following = asyncio.create_task(status_of(application, request_scope))
    await begun(views, application, PAGE, 1)
    assert len(views.under_way) == PLACES[kind] + 1  # without the one that waits
    views.go_on.set()
    assert await asyncio.gather(*first, following) == [200] * (PLACES[kind] + 1)


async def test_who_waits_too_long_is_told_so(impatient: None) -> None:
    views = Views()
    application = RequestThreads(views)
    log_ins = await begun(views, application, POSTED, 2)
    assert await status_of(application, POSTED) == 503
    pages = await begun(views, application, PAGE, MAX_THREADS - 2)
    assert await status_of(application, PAGE) == 503
    assert await status_of(application, scope("sample-original", "c", 1)) == 503
    views.go_on.set()
    assert set(await asyncio.gather(*log_ins, *pages)) == {200}
    for _ in range(PLACES[ORIGINAL]):  # those that waited in vain kept no place of their kind
        await served(application, scope("sample-original", "c", 1))


async def test_who_waits_is_refused_where_the_database_fails() -> None:
    """Otherwise a request would wait for a place, and then as long again for the database."""
    views = Views()
    application = RequestThreads(views)
    pages = await begun(views, application, PAGE, MAX_THREADS)
    waiting = [asyncio.create_task(status_of(application, PAGE)) for _ in range(3)]
    log_in = asyncio.create_task(status_of(application, POSTED))
    await asyncio.sleep(0)
    views.status = 503
    views.go_on.set()
    assert set(await asyncio.gather(*pages, *waiting, log_in)) == {503}
    assert views.under_way == [PAGE["path"]] * MAX_THREADS  # no other began
    views.status = 200
    await served(application, POSTED)


async def test_a_search_keeps_its_place_after_its_client_has_left() -> None:
    views = Views()
    application = RequestThreads(views)
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
    application = SharedHealth(RequestThreads(views))
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
    application = SharedHealth(RequestThreads(views))
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
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(MAX_THREADS + 8)
        ]
        for line in lines:
            line.sendall(log_in)
        for _ in range(3):  # over connections that the server accepts after those of the log-ins
            assert httpx.get(server.url, timeout=60).status_code == 200
        assert select.select(lines, [], [], 0)[0] == []  # none of them was answered before
        assert lines[0].recv(12) == b"HTTP/1.1 503"
