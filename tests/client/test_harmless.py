"""A server that is down, slow or wrong changes neither the result nor the duration of a job, and is logged once."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dataset_progress import Run, _sender, track

from apps.datasets.models import Token
from apps.datasets.services import issue_token
from tests.processes import web_server
from tests.services import free_port, wait_until

from .conftest import program, script, shown, until, until_silent

SLOW_SECONDS = 30.0


class Bad(BaseHTTPRequestHandler):
    """Answers every request in the same bad way."""

    answers = (200, "application/json", b"{}")
    is_slow = False
    over = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.is_slow:
            self.over.wait(SLOW_SECONDS)
        status, content_type, body = self.answers
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


ANSWERS: dict[str, tuple[int, str, bytes]] = {
    "html": (200, "text/html", b"<html>Welcome to the captive portal</html>"),
    "another API": (200, "application/json", b'{"hello": "world"}'),
    "a list": (200, "application/json", b"[]"),
    "nonsense": (200, "application/json", b'{"run": "x", "results": 5}'),
    "no JSON": (200, "application/json", b"{"),
    "broken": (500, "application/json", json.dumps({"detail": "x", "code": "internal"}).encode()),
    "bad gateway": (502, "text/html", b"<html>"),
    "unauthorized": (401, "application/json", json.dumps({"detail": "x", "code": "unauthorized"}).encode()),
    "too many": (429, "application/json", json.dumps({"detail": "x", "code": "too_many"}).encode()),
}


@contextmanager
def bad_server(name: str) -> Iterator[str]:
    over = threading.Event()
    values = {"answers": ANSWERS.get(name, ANSWERS["html"]), "is_slow": name == "slow", "over": over}
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Bad,), values)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        over.set()
        server.shutdown()


@contextmanager
def address_of(trouble: str) -> Iterator[str]:
    match trouble:
        case "down":
            yield f"http://127.0.0.1:{free_port()}"
        case "no such name":
            yield "http://progress.invalid"
        case "no address":
            yield "not an address"
        case _:
            with bad_server(trouble) as url:
                yield url


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "dataset_progress"]


@pytest.mark.parametrize("trouble", ["down", "no such name", "no address", "slow", *ANSWERS])
def test_the_job_is_not_harmed(trouble: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sender, "MAX_RETRY_SECONDS", 0.0)
    with address_of(trouble) as url, caplog.at_level(logging.WARNING, "dataset_progress"):
        began = time.monotonic()
        with Run("cats", url=url, token="x", flush_seconds=0.5) as run:
            assert sum(run.track(range(1000))) == 499_500
            run.fail_item("a")
            run.set(message="on its way")
            loop = time.monotonic() - began
            if trouble not in ("slow", "too many"):
                wait_until(lambda: warnings(caplog) != [], seconds=SLOW_SECONDS, what="nobody was warned")
            left = time.monotonic()
        closing = time.monotonic() - left
        logged = warnings(caplog)  # before the slow server answers after all
    # The loop does not wait, even for the first answer of a server that takes half a minute.
    assert loop < SLOW_SECONDS / 3
    assert closing < SLOW_SECONDS / 3
    assert len(logged) == (0 if trouble == "slow" else 1), [record.getMessage() for record in logged]
    assert all(record.exc_info is None for record in logged)
    until_silent(run)


@pytest.mark.parametrize(("value", "warned"), [("", 0), ("later", 1)])
def test_leaving_takes_two_seconds_at_most(
    value: str, warned: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_FLUSH_SECONDS", value)
    monkeypatch.setattr(_sender, "MAX_RETRY_SECONDS", 0.0)
    with bad_server("slow") as url:
        run = Run("cats", url=url)
        run.advance()
        began = time.monotonic()
        run.close()
        assert 1.9 < time.monotonic() - began < SLOW_SECONDS / 3
        assert len(warnings(caplog)) == warned
    until_silent(run)  # the slow server answers after all


def test_when_the_server_is_back_the_newest_arrives(transactional_db: None, tmp_path: Path) -> None:
    port = free_port()
    _, secret = issue_token("client")
    with Run("cats", url=f"http://127.0.0.1:{port}", token=secret, flush_seconds=30) as run:
        run.advance(1)
        with web_server(tmp_path / "first", port=port):
            until(lambda progress: progress.current == 1)
        run.advance(10)
        with web_server(tmp_path / "second", port=port):
            until(lambda progress: progress.current == 11)
            run.advance(1)
            run.close()
            assert (shown().state, shown().current) == ("ready", 12)


def test_an_end_that_nobody_heard_is_said_when_the_server_is_back(transactional_db: None, tmp_path: Path) -> None:
    port = free_port()
    _, secret = issue_token("client")
    run = Run("cats", url=f"http://127.0.0.1:{port}", token=secret, flush_seconds=0.1)
    with web_server(tmp_path / "first", port=port):
        run.advance(5)
        until(lambda progress: progress.current == 5)
    assert not run.close()
    with web_server(tmp_path / "second", port=port):
        assert until(lambda progress: progress.is_finished).state == "ready"
        wait_until(run.close, seconds=30, what="it is not known to be heard")


def test_a_token_that_is_revoked(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender, "MAX_RETRY_SECONDS", 0.0)
    with Run("cats", flush_seconds=0.5) as run:
        for item in run.track(range(3)):
            if item == 1:
                until(lambda progress: progress.current == 1)
                Token.objects.all().delete()
        wait_until(lambda: warnings(caplog) != [], seconds=SLOW_SECONDS, what="nobody was warned")
    assert [record.levelname for record in caplog.records if record.name == "dataset_progress"] == ["WARNING"]
    assert shown().state == "indexing"
    until_silent(run)


@pytest.mark.parametrize("env", [{}, {"DATASET_PROGRESS_URL": ""}])
def test_without_an_address_it_costs_nothing_and_says_so_once(env: dict[str, str]) -> None:
    code = """
import sys, threading
from dataset_progress import Run, track
items = [1, 2, 3]
for _ in range(2):
    assert list(track(items, dataset="cats")) == items
with Run("cats") as run:
    assert type(run.track(items)) is type(iter(items))
    run.advance(); run.set(5, 6, "x"); run.fail_item("x")
assert threading.active_count() == 1
assert "httpx" not in sys.modules
"""
    ended = script(code, **env)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    told = "progress is not reported: set DATASET_PROGRESS_URL to the server's address, or to nothing\n"
    assert ended.stderr == ("" if env else told)


@pytest.mark.parametrize("trouble", ["down", "slow"])
def test_the_interpreter_ends(trouble: str) -> None:
    code = """
from dataset_progress import Run, track
run = Run("cats", flush_seconds=0.2)
run.advance()
for item in track(range(10), dataset="dogs", flush_seconds=0.2):
    break
"""
    with address_of(trouble) as url:
        began = time.monotonic()
        ended = script(code, DATASET_PROGRESS_URL=url)
        assert time.monotonic() - began < SLOW_SECONDS / 2
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", ["HTTP_PROXY", "SSL_CERT_FILE"])
def test_an_environment_that_is_wrong(name: str) -> None:
    code = """
import logging, threading
from dataset_progress import Run
logged = threading.Event()
class Handler(logging.StreamHandler):
    def emit(self, record):
        super().emit(record)
        logged.set()

logging.getLogger("dataset_progress").addHandler(Handler())
for url in ("http://127.0.0.1:9", "https://127.0.0.1:9"):
    with Run("cats", url=url, flush_seconds=0.1):
        assert logged.wait(60)
        logged.clear()
"""
    ended = script(code, **{name: "nonsense://nowhere"})
    assert (ended.returncode, ended.stderr.count("progress is not reported")) == (0, 2), ended.stderr


def test_where_no_thread_can_be_started_nothing_is_reported_and_nothing_breaks(address: str) -> None:
    code = """
import threading
from dataset_progress import track
def start(thread): raise RuntimeError("can't start new thread")
threading.Thread.start = start
assert list(track(range(3), dataset="cats")) == [0, 1, 2]
"""
    ended = program(code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("can't start new thread") == 1


def test_no_thread_is_left(address: str) -> None:
    before = set(threading.enumerate())
    for number in range(300):
        list(track(range(3), dataset=f"d{number % 3}"))
    assert len(set(threading.enumerate()) - before) <= 3
    wait_until(lambda: set(threading.enumerate()) <= before, seconds=60, what="a thread was left")
