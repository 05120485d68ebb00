"""Requests share a few threads that last, and each thread runs one request at a time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from websockets.asyncio.client import connect

from progress_site.servers import places as places_of_kinds
from progress_site.servers.places import READ, places
from progress_site.servers.threads import KEPT_THREADS, RequestThreads
from tests.processes import Server, collect_static, environment, web_server
from tests.repository import ROOT
from tests.services import PostgreSQL, run_quietly, wait_until

from .views import Scope, Views, status_of

READS = places()[READ]
PAGE: Scope = {"type": "http", "path": "/datasets/cats/", "method": "GET", "query_string": b"", "headers": []}


async def until(reached: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, reached, seconds=30, what="the threads are not idle")


async def until_idle(application: RequestThreads, count: int) -> None:
    await until(lambda: len(application._idle) == count)


async def test_consecutive_requests_share_a_thread() -> None:
    views = Views()
    views.go_on.set()
    application = RequestThreads(views.answer)
    for _ in range(5):
        await status_of(application, PAGE)
        await until_idle(application, 1)
    assert len(set(views.threads)) == 1


async def test_concurrent_requests_have_a_thread_each_and_not_all_are_kept(settings: Any) -> None:
    settings.REQUEST_THREADS = KEPT_THREADS + 3
    views = Views()
    application = RequestThreads(views.answer)
    requests = [asyncio.create_task(status_of(application, PAGE)) for _ in range(KEPT_THREADS + 3)]
    for _ in requests:
        await views.begun.acquire()  # all of them are under way
    views.go_on.set()
    await asyncio.gather(*requests)
    await until_idle(application, KEPT_THREADS)
    assert len(set(views.threads)) == KEPT_THREADS + 3
    await until(lambda: sum(thread.is_alive() for thread in views.threads) == KEPT_THREADS)


async def test_more_requests_than_threads_wait_for_their_turn_and_health_does_not() -> None:
    views = Views()
    application = RequestThreads(views.answer)
    requests = [asyncio.create_task(status_of(application, PAGE)) for _ in range(READS + 20)]
    for _ in range(READS):
        await views.begun.acquire()
    health = asyncio.create_task(status_of(application, PAGE | {"path": "/health/"}))
    await views.begun.acquire()
    assert len(views.threads) == READS + 1
    views.go_on.set()
    await asyncio.gather(health, *requests)
    assert len(views.threads) == READS + 21


async def test_thread_is_not_reused_while_its_view_runs_on_after_a_disconnect() -> None:
    views = Views()
    application = RequestThreads(views.answer)
    disconnected = asyncio.create_task(status_of(application, PAGE))
    await views.begun.acquire()
    disconnected.cancel()
    with suppress(asyncio.CancelledError):
        await disconnected
    following = asyncio.create_task(status_of(application, PAGE))
    await views.begun.acquire()  # although the first view still runs
    views.go_on.set()
    await following
    assert len(set(views.threads)) == 2


@pytest.fixture
def database(postgresql: PostgreSQL) -> Iterator[tuple[str, Callable[[], set[int]]]]:
    """The URL of an empty database, and a function that returns the process ids of its connections."""
    name = "threads"
    url = f"{postgresql.url.rpartition('/')[0]}/{name}"
    with psycopg.connect(postgresql.url, autocommit=True) as connection:

        def connected() -> set[int]:
            found = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [name])
            return {pid for (pid,) in found}

        connection.execute(f"CREATE DATABASE {name}")
        run_quietly([sys.executable, "manage.py", "migrate"], env=environment({"DATABASE_URL": url}), cwd=ROOT)
        yield url, connected
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_requests_share_a_few_connections_to_the_database(
    database: tuple[str, Callable[[], set[int]]], tmp_path: Path
) -> None:
    url, connected = database
    seen: set[int] = set()
    with web_server(tmp_path / "log", env={"DATABASE_URL": url}) as server, httpx.Client(timeout=60) as client:
        for _ in range(4 * KEPT_THREADS):
            assert client.get(f"{server.url}/api/datasets").status_code == 200
            seen |= connected()
    # Not always 1: a request may come before the thread of the last one is idle.
    assert 1 <= len(seen) <= KEPT_THREADS


def test_concurrent_sockets_share_a_few_connections(
    database: tuple[str, Callable[[], set[int]]], tmp_path: Path
) -> None:
    url, connected = database

    async def watch(server: Server) -> None:
        async with connect(f"{server.socket_url}/api/progress/ws", open_timeout=60) as socket:
            await socket.send('{"type": "subscribe", "dataset_id": "cats"}')
            async with asyncio.timeout(60):
                assert "There is no dataset cats" in str(await socket.recv())

    async def crowd(server: Server) -> None:
        await asyncio.gather(*(watch(server) for _ in range(100)))

    with web_server(tmp_path / "log", env={"DATABASE_URL": url}) as server:
        asyncio.run(crowd(server))
        assert 1 <= len(connected()) <= 3  # one notes that the process listens


def test_crowd_of_requests_is_answered_over_a_limited_number_of_connections(
    database: tuple[str, Callable[[], set[int]]], tmp_path: Path
) -> None:
    """100 requests at once, as when a dataset that a whole company watches becomes ready."""
    collect_static()
    url, connected = database
    most = 0

    async def ask(client: httpx.AsyncClient, address: str) -> int:
        nonlocal most
        answer = await client.get(address)
        # A connection that is about to close is gone at the second or third count.
        most = max(most, min(len(connected()) for _ in range(3)))
        return answer.status_code

    async def crowd(address: str) -> list[int]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            return await asyncio.gather(*(ask(client, address) for _ in range(100)))

    with web_server(tmp_path / "log", env={"DATABASE_URL": url, "REQUEST_THREADS": "6"}) as server:
        assert asyncio.run(crowd(f"{server.url}/datasets/none/")) == [404] * 100
    assert 1 <= most <= 6 + 5  # the hub, the sockets and the notes that the process listens have theirs


async def test_who_waited_has_the_thread_of_the_request_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_of_kinds, "SLOW_SECONDS", 60.0)
    views = Views()
    views.go_on.set()
    application = RequestThreads(views.answer)
    assert await asyncio.gather(*(status_of(application, PAGE) for _ in range(10 * READS))) == [200] * (10 * READS)
    assert len(set(views.threads)) == 1, "pages take turns"


async def test_next_report_needs_no_turn_of_the_event_loop(settings: Any) -> None:
    settings.REQUEST_THREADS = 1
    views = Views()
    application = RequestThreads(views.answer)
    report = PAGE | {"path": "/api/datasets/cats/progress", "method": "POST"}
    reports = [asyncio.create_task(status_of(application, report)) for _ in range(3)]
    await views.begun.acquire()
    assert len(views.under_way) == 1
    views.go_on.set()
    # Not awaited: the event loop stands still meanwhile.
    wait_until(lambda: len(views.under_way) == 3, seconds=30, what="the reports have not begun")
    assert await asyncio.gather(*reports) == [200] * 3
    assert len(set(views.threads)) == 1
