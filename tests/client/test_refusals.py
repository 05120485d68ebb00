"""Values that the server cannot accept, and refusals of the server, do not prevent other reports and the end."""

from __future__ import annotations

import json
import logging
import os
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from dataset_progress import Refused, Run, Stage, _sender, track
from dataset_progress._api import Api, Server
from dataset_progress._control import MAX_UNCONFIRMED_PAUSE_SECONDS
from dataset_progress._run import session_of

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import ItemFailure
from apps.progress.models import Run as RunRow
from tests.services import wait_until

from .conftest import ended, shown, until, until_silent

Answer = Callable[[dict[str, Any]], dict[str, Any]]
TAKEN = {"status": 200, "run": 1, "version": 1, "control": "run"}


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "dataset_progress"]


def test_whatever_is_said_arrives_in_a_form_that_is_taken(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with Run("cats", stages=["load", Stage("load", total=3), Stage("x" * 500, weight=float("nan"))]) as run:
        run.set(np.int64(5), 10.5, "half a character: \udcff\0" + "x" * 2_000_000)  # type: ignore[arg-type]  # not an int
        run.advance(np.int64(2))  # type: ignore[arg-type]  # not an int
        run.fail_item("folder/\udcff.jpg" + "y" * 2_000_000, Unspeakable())
        run.fail_item(Unspeakable())
        run.fail_item("")
        progress = until(lambda progress: progress.current == 7)
        assert (progress.total, progress.failed, progress.message[:17]) == (10, 3, "half a character:")
        run.stage("two\nlines", total=-3)
        run.set(float("nan"), float("inf"))  # type: ignore[arg-type]  # not an int
        run.stage("w" * 70).advance(10**20)
    assert shown().state == "ready"
    assert [stage.name for stage in shown().stages] == ["load", "x" * 64, "two lines", "w" * 64]
    assert ItemFailure.objects.filter(reason="<Unspeakable>").exists()
    assert warnings(caplog) == []


@pytest.mark.parametrize("error", ["\udcff" + "x" * 1_000_000, RuntimeError("\udcff"), Unspeakable])
def test_whatever_the_end_is_it_arrives(address: str, error: Any) -> None:
    run = Run("cats")
    run.advance()
    assert run.close(type("Odd", (Unspeakable, Exception), {})() if error is Unspeakable else error)
    assert shown().state == "error"
    assert shown().error


def test_a_stage_too_many_is_not_the_end_of_the_others(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with Run("cats", stages=[f"planned {number}" for number in range(70)]) as run:
        run.stage("one more").advance(3)
        run.stage("planned 1").advance(5)
    assert (shown().state, len(shown().stages)) == ("ready", 64)
    assert [stage.current for stage in shown().stages if stage.name == "planned 1"] == [5]
    assert len(warnings(caplog)) == 1
    assert "64 stages" in warnings(caplog)[0]


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1, "soon"])
def test_a_time_to_flush_that_is_none(seconds: Any, address: str) -> None:
    with Run("cats", flush_seconds=seconds) as run:
        run.advance()
        until(lambda progress: progress.current == 1)


def test_a_token_is_not_written_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with Run("cats", url="http://127.0.0.1:9", token="dp_sec\nret", flush_seconds=0.1) as run:
        run.advance()
    wait_until(lambda: warnings(caplog) != [], seconds=30, what="nobody was warned")
    assert "ret" not in caplog.text.replace("trying", "")
    assert "token" in caplog.text


def test_a_line_end_behind_a_token_is_none_of_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_TOKEN", os.environ["DATASET_PROGRESS_TOKEN"] + "\n")
    assert list(track(range(3), dataset="cats")) == [0, 1, 2]
    assert ended().state == "ready"


# --- A mock server ---------------------------------------------------------------------------------------------------


class MockServer(httpx.MockTransport):
    """Records the updates, and answers each with ``answer(update)``."""

    def __init__(self, answer: Answer = lambda update: TAKEN) -> None:
        super().__init__(self.take)
        self.url = f"http://{secrets.token_hex(8)}.invalid"  # reports of an earlier test go elsewhere
        self.answer = answer
        self.asked: list[float] = []
        self.updates: list[dict[str, Any]] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda request: None

    def take(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(time.monotonic())
        if (trouble := self.trouble(request)) is not None:
            return trouble
        if request.method == "GET":
            return httpx.Response(200, json={"run": 1, "cancelled": False})
        body = json.loads(request.content)
        if "updates" not in body:
            return httpx.Response(201, json={"run": 1})
        self.updates.extend(body["updates"])
        return httpx.Response(200, json={"results": [self.answer(update) for update in body["updates"]]})

    def run(self, **options: Any) -> Run:
        return Run("cats", url=self.url, transport=self, **{"flush_seconds": 30, **options})


def test_what_two_have_said_at_once_is_said_again() -> None:
    server = MockServer()
    conflicts = iter([httpx.Response(409, json={"code": "conflict", "detail": "try again"}) for _ in range(3)])
    server.trouble = lambda request: next(conflicts, None)
    with server.run() as run:
        run.advance(3)
    assert [update.get("current", update.get("state")) for update in server.updates][-2:] == [3, "ready"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_refused_as_a_whole_does_not_take_the_end_with_it(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = MockServer()

    def refuse_what_counts(request: httpx.Request) -> httpx.Response | None:
        is_bad = b'"current"' in request.content
        return httpx.Response(status, json={"detail": "no", "code": "invalid"}) if is_bad else None

    server.trouble = refuse_what_counts
    run = server.run()
    run.advance()
    assert run.close()
    assert [update.get("state") for update in server.updates] == ["ready"]
    assert len(warnings(caplog)) == 1


def test_no_more_than_four_requests_a_second_and_the_newest_at_that() -> None:
    server = MockServer()
    began = time.monotonic()
    with server.run() as run:
        while time.monotonic() - began < 3:
            run.advance()
    apart = [later - earlier for earlier, later in zip(server.asked, server.asked[4:], strict=False)]
    assert statistics.median(apart) > 0.95
    currents = [update["current"] for update in server.updates if "current" in update]
    assert currents == sorted(currents)


def test_no_more_than_four_a_second_while_leaving(caplog: pytest.LogCaptureFixture) -> None:
    server = MockServer()
    server.trouble = lambda request: httpx.Response(503, json={"detail": "no", "code": "internal"})
    run = server.run(flush_seconds=3)
    run.advance()
    assert not run.close()
    apart = [later - earlier for earlier, later in zip(server.asked, server.asked[4:], strict=False)]
    assert statistics.median(apart) > 0.95


def test_a_server_that_is_down_is_asked_ever_less_often() -> None:
    server = MockServer()
    server.trouble = lambda request: httpx.Response(503, json={"detail": "no", "code": "internal"})
    with server.run(flush_seconds=0) as run:
        began = time.monotonic()
        while time.monotonic() - began < 4:
            run.advance()
            time.sleep(0.01)
        assert 2 <= len(server.asked) <= 8


def test_retry_after_is_kept_to(caplog: pytest.LogCaptureFixture) -> None:
    server = MockServer()
    refusals = iter([httpx.Response(429, json={"code": "too_many"}, headers={"Retry-After": "2"})])
    server.trouble = lambda request: next(refusals, None)
    with server.run() as run:
        run.advance()
        wait_until(lambda: len(server.updates) > 0, seconds=30, what="nothing was sent again")
    assert server.asked[1] - server.asked[0] > 1.9
    assert caplog.messages == []


@pytest.mark.parametrize("body", [{"json": {"detail": "busy", "code": "unavailable"}}, {"text": "<html>busy</html>"}])
def test_a_busy_server_is_asked_when_it_says_also_while_leaving(
    body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = MockServer()
    busy = iter([httpx.Response(503, headers={"Retry-After": "2"}, **body)])
    server.trouble = lambda request: next(busy, None)
    run = server.run()
    run.advance()
    wait_until(lambda: len(server.asked) > 0, seconds=30, what="nothing was sent")
    assert run.close()
    assert server.asked[1] - server.asked[0] > 1.9
    assert server.updates[-1]["state"] == "ready"
    assert caplog.messages == []


@pytest.mark.parametrize("status", [429, 503])
def test_what_a_busy_server_has_not_taken_by_the_end_is_told(status: int, caplog: pytest.LogCaptureFixture) -> None:
    server = MockServer()
    server.trouble = lambda request: httpx.Response(status, json={"detail": "not now"}, headers={"Retry-After": "60"})
    run = server.run(flush_seconds=0.5)
    run.advance()
    wait_until(lambda: len(server.asked) > 0, seconds=30, what="nothing was sent")
    assert caplog.messages == []
    assert not run.close()
    assert ["not now" in message for message in caplog.messages] == [True]


def test_a_single_report_waits_for_a_busy_server() -> None:
    server = MockServer()
    busy = iter([httpx.Response(status, headers={"Retry-After": "1"}, json={"code": "x"}) for status in (503, 429)])
    server.trouble = lambda request: next(busy, None)
    api = Api(Server("http://progress.invalid", ""), server)
    assert api.request_patiently("GET", "datasets/cats/progress", {}, seconds=30)["run"] == 1
    assert server.asked[2] - server.asked[0] > 1.9
    server.trouble = lambda request: httpx.Response(503, headers={"Retry-After": "60"}, json={"code": "x"})
    with pytest.raises(Refused):
        api.request_patiently("GET", "datasets/cats/progress", {}, seconds=30)
    assert len(server.asked) == 4


# --- A pause is no prison --------------------------------------------------------------------------------------------


@pytest.fixture
def held() -> Iterator[Callable[[Run], Callable[[], bool]]]:
    """Start a loop of a run on a thread. The returned function returns whether the loop has ended."""
    threads: list[threading.Thread] = []

    def begin(run: Run) -> Callable[[], bool]:
        def job() -> None:
            for number in run.track(range(40)):
                if number == 1:
                    wait_until(lambda: session_of(run).control.is_requested, seconds=60, what="no pause was heard")

        threads.append(threading.Thread(target=job, daemon=True))
        threads[-1].start()
        return lambda: not threads[-1].is_alive()

    yield begin
    for thread in threads:
        thread.join(30)


def test_a_server_that_is_gone_holds_nobody(
    held: Callable[[Run], Callable[[], bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender, "MAX_RETRY_SECONDS", 0.0)
    is_paused, later = threading.Event(), [0.0]
    server = MockServer(lambda update: {**TAKEN, "control": "pause" if is_paused.is_set() else "run"})
    run = server.run(flush_seconds=0, clock=lambda: time.monotonic() + later[0])
    is_through = held(run)
    is_paused.set()
    wait_until(lambda: session_of(run).control.is_requested, seconds=30, what="it was not paused")
    server.trouble = lambda request: httpx.Response(503, json={"detail": "no", "code": "internal"})
    assert not is_through()
    later[0] = MAX_UNCONFIRMED_PAUSE_SECONDS + 1
    wait_until(is_through, seconds=30, what="it was held for ever")
    run.close()
    until_silent(run)


@pytest.mark.parametrize("end", ["deleted", "another run"])
def test_a_run_that_is_gone_holds_nobody(
    end: str, address: str, held: Callable[[Run], Callable[[], bool]], caplog: pytest.LogCaptureFixture
) -> None:
    run = Run("cats", flush_seconds=0)
    is_through = held(run)
    until(lambda progress: progress.current > 0)
    services.request_pause(RunRow.objects.get().pk)
    wait_until(lambda: session_of(run).control.is_requested, seconds=30, what="it was not paused")
    if end == "deleted":
        Dataset.objects.all().delete()
    else:
        services.begin_run(Dataset.objects.get(), replace=True)
    wait_until(is_through, seconds=30, what="it was held for ever")
    assert [record.levelno for record in caplog.records if record.name == "dataset_progress"] == [logging.WARNING]
    run.close()
