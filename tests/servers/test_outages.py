"""A database that is locked, full or gone: clients are told within 5 s to come later, and served when it is back."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import psycopg
import psycopg.errors
import pytest
from django.db import OperationalError, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.progress import services as progress
from apps.progress.models import Head
from apps.progress.services import StagePlan
from progress_site.unavailable import or_unavailable
from tests import services
from tests.processes import Server, collect_static, environment, web_server
from tests.repository import ROOT
from tests.services import run_quietly, wait_until

SECONDS = 5.0
SUBSCRIBE = '{"type": "subscribe", "dataset_id": "a"}'


def told(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Return the answer of a server that says in time that it is to be asked later."""
    began = time.monotonic()
    answer = ask()
    assert answer.status_code == 503, answer.text
    assert time.monotonic() - began < SECONDS
    assert answer.headers["Retry-After"] == "3"
    assert answer.headers["Cache-Control"] == "no-store"
    return answer


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# --- A locked database -----------------------------------------------------------------------------------------------


def test_a_lock_is_told_in_time_and_passes(server: Server, transactional_db: None) -> None:
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    progress.start_stage(progress.begin_run(dataset, [StagePlan("index")]).pk, "index")
    with httpx.Client(base_url=server.url, headers=bearer(issue_token("t")[1]), timeout=60) as client:

        def report() -> httpx.Response:
            return client.post("/api/datasets/cats/progress", json={"current": 5})

        with transaction.atomic():
            Head.objects.select_for_update().get()
            assert told(report).json()["code"] == "unavailable"
        assert report().json()["progress"]["current"] == 5


# --- A database on another machine -----------------------------------------------------------------------------------


class Site:
    """A web process and its PostgreSQL server, which can be stopped."""

    def __init__(self, server: Server, database: services.PostgreSQL, secret: str) -> None:
        self.server, self.database = server, database
        self.client = httpx.Client(base_url=server.url, headers=bearer(secret), timeout=60)

    def report(self, *updates: dict[str, Any]) -> httpx.Response:
        return self.client.post("/api/progress", json={"updates": updates})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    collect_static()
    with ExitStack() as stack, services.postgresql() as database:
        env = {"DATABASE_URL": database.url, "TOKEN_REQUESTS_A_SECOND": "0"}
        manage = [sys.executable, "manage.py"]
        run_quietly([*manage, "migrate"], env=environment(env), cwd=ROOT)
        secret = run_quietly([*manage, "create_token", "test"], env=environment(env), cwd=ROOT).strip()
        server = stack.enter_context(web_server(tmp_path_factory.mktemp("outage") / "log", env=env))
        site = Site(server, database, secret)
        stack.callback(site.client.close)
        yield site


@pytest.mark.slow
def test_a_full_database_is_told_in_time_and_passes(site: Site) -> None:
    with ExitStack() as stack:
        with suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(site.database.url))
        assert told(lambda: site.client.get("/api/datasets")).json()["code"] == "unavailable"
    wait_until(lambda: site.client.get("/api/datasets").status_code == 200, seconds=30, what="no place became free")


@pytest.mark.slow
def test_a_deadlock_is_tried_again(site: Site) -> None:
    assert site.report({"dataset_id": "a", "current": 1}, {"dataset_id": "b", "current": 1}).status_code == 200
    lock = (
        "SELECT 1 FROM progress_head head JOIN datasets_dataset dataset ON dataset.id = head.dataset_id"
        " WHERE dataset.dataset_id = %s FOR UPDATE OF head"
    )
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with (
        psycopg.connect(site.database.url) as other,
        psycopg.connect(site.database.url, autocommit=True) as monitor,
        ThreadPoolExecutor(1) as thread,
    ):
        other.execute(lock, ["b"])
        answer = thread.submit(site.report, {"dataset_id": "a", "current": 2}, {"dataset_id": "b", "current": 2})
        wait_until(lambda: monitor.execute(waits).fetchone() is not None, seconds=30, what="the report did not wait")
        other.execute(lock, ["a"])  # the report waits longer, so PostgreSQL ends its transaction
        other.commit()
        results = answer.result().json()["results"]
    assert [result["status"] for result in results] == [200, 200]
    assert site.client.get("/api/datasets/b/progress").json()["current"] == 2


@pytest.mark.slow
def test_a_database_that_is_gone_is_told_in_time_and_comes_back(site: Site) -> None:
    site.report({"dataset_id": "a", "current": 2})
    with socket(site, "/api/datasets/a/progress/ws") as one, socket(site, "/api/progress/ws") as many:
        with site.database.stopped():
            assert told(lambda: site.report({"dataset_id": "a", "current": 3})).json()["code"] == "unavailable"
            assert told(lambda: site.client.get("/api/datasets/a/progress")).json()["code"] == "unavailable"
            page = told(lambda: site.client.get("/datasets/a/"))
            assert "<h1" in page.text
            assert "Trying again" in page.text
            assert page.headers["Refresh"] == "3"
            health = site.client.get("/health/")
            assert (health.status_code, health.text) == (503, "no database")
            for line in (one, many):
                line.send(SUBSCRIBE)
                message = json.loads(line.recv(timeout=SECONDS))
                assert message["type"] == "error"
                assert "busy" in message["message"]
            with pytest.raises(ConnectionClosed) as closed:  # so that its client reconnects
                one.recv(timeout=30)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4503
        assert site.report({"dataset_id": "a", "current": 3}).json()["results"][0]["status"] == 200
        many.send(SUBSCRIBE)
        assert json.loads(many.recv(timeout=30))["payload"]["current"] == 3


@pytest.mark.slow
def test_a_database_that_is_frozen_is_told_in_time_and_comes_back(site: Site) -> None:
    assert site.report({"dataset_id": "a", "current": 4}).status_code == 200
    with ThreadPoolExecutor(20) as threads:
        with site.database.frozen():
            asked: list[Callable[[], httpx.Response]] = [
                lambda: site.report({"dataset_id": "a", "current": 5}),
                lambda: site.client.get("/api/datasets"),
                lambda: site.client.get("/datasets/a/"),
            ]
            for _ in range(2):  # over connections that are open, then over new ones
                for answer in threads.map(told, asked * 7):  # more than have a place
                    assert "again" in answer.text
        wait_until(lambda: site.client.get("/health/").status_code == 200, seconds=30, what="it did not come back")
        assert site.report({"dataset_id": "a", "current": 5}).json()["results"][0]["status"] == 200
        assert site.client.get("/api/datasets/a/progress").json()["current"] == 5


@contextmanager
def socket(site: Site, address: str) -> Iterator[Any]:
    with connect(site.server.socket_url + address, open_timeout=60) as line:
        yield line


# --- The middleware --------------------------------------------------------------------------------------------------

calls: list[str] = []


def failure(error: Exception) -> OperationalError:
    failed = OperationalError("it failed")
    failed.__cause__ = error
    return failed


def view(request: HttpRequest, deadlocks: int) -> HttpResponse:
    calls.append(request.path)
    if len(calls) <= deadlocks:
        raise failure(psycopg.errors.DeadlockDetected())
    return HttpResponse("done")


def broken(request: HttpRequest) -> HttpResponse:
    raise OperationalError("no such function: it") from sqlite_error()


def sqlite_error() -> Exception:
    import sqlite3

    try:
        sqlite3.connect(":memory:").execute("SELECT it()")
    except sqlite3.Error as error:
        return error
    raise AssertionError


urlpatterns = [path("deadlocks/<int:deadlocks>/", view), path("broken/", broken)]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(("deadlocks", "status", "called"), [(0, 200, 1), (1, 200, 2), (2, 503, 2), (9, 503, 2)])
def test_a_view_is_called_once_more_after_a_deadlock(deadlocks: int, status: int, called: int) -> None:
    calls.clear()
    assert Client().get(f"/deadlocks/{deadlocks}/").status_code == status
    assert len(calls) == called


@pytest.mark.urls(__name__)
def test_a_statement_that_is_wrong_is_no_outage() -> None:
    assert Client(raise_request_exception=False).get("/broken/").status_code == 500


def test_an_outage_before_a_view_is_told_as_well() -> None:
    handler = or_unavailable(lambda request: HttpResponse(status=500))
    request = HttpRequest()
    request.path, request.method = "/", "POST"
    statuses = []
    for error in (failure(psycopg.errors.ConnectionTimeout()), ZeroDivisionError()):
        try:
            raise error
        except Exception:
            statuses.append(handler(request).status_code)
    assert statuses == [503, 500]


def test_a_form_is_not_sent_again_by_itself() -> None:
    from progress_site.unavailable import unavailable

    answer = unavailable("/new/", "POST")
    assert "Refresh" not in answer
    assert b"Go back and try again" in answer.content
