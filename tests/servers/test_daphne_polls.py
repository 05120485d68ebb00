"""Polls under Daphne that wait for an answer: none is lost, answered with an old state, or out of turn."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from progress_site.servers.daphne_polls import DaphnePolls
from tests.processes import DAPHNE, Server, collect_static, environment, web_server
from tests.repository import ROOT
from tests.services import PostgreSQL, run_quietly, wait_until

from .raw import answer_of, line_to, request, until_closed
from .site import Site, aside, header, in_site, json

CLIENT = ("127.0.0.1", 1)


def request_of(path: str, *headers: str, host: str = "localhost") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"host: {host}", "hx-request: true", *headers, "", ""]
    return "\r\n".join(lines).encode()


POLL = request_of("/datasets/cats/progress/header/")


class LateSite(Site):
    """A site whose views are held up after they have read the database. The first ones fail, so many as ``failing``."""

    failing = 0

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        messages = await aside(self._handler.answer, scope, b"")
        self.begun.release()
        await self.go_on.wait()
        if self.asked <= self.failing:
            raise RuntimeError("no memory")
        for message in messages:
            await send(message)


def polls_of(site: Site) -> DaphnePolls:
    """The polls of a server without options, whose application is the site."""
    options = dict.fromkeys(("address_header", "port_header", "proto_header"))
    proxy = {f"proxy_forwarded_{name}": value for name, value in options.items()}
    return DaphnePolls(SimpleNamespace(application=site.polls, root_path="", server_name="", **proxy))


def waiting(polls: DaphnePolls, poll: bytes = POLL, client: tuple[str, int] = CLIENT) -> asyncio.Future[bytes | None]:
    """Send a poll whose answer is not known, and return the answer to come."""
    scope = polls.read(poll, client)
    assert scope is not None
    assert polls.answer_at_once(scope) is None
    answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    assert polls.answer_later(scope, answer.set_result)
    return answer


async def hold_up(site: Site, run: Run) -> DaphnePolls:
    """Have the caller known, then something reported that has yet to be asked for; hold up the views from now on.

    Returns the polls of the site.
    """
    await site.shared(header("cats"))
    await aside(services.report, run.pk, current=1)
    site.asked, site.begun = 0, asyncio.Semaphore(0)
    site.go_on.clear()
    return polls_of(site)


def test_whoever_waits_has_the_answer_of_one(running: Dataset) -> None:
    run = Run.objects.get()

    async def main(site: Site) -> None:
        polls = await hold_up(site, run)
        crowd = [waiting(polls) for _ in range(50)]
        await site.begun.acquire()
        crowd += [waiting(polls) for _ in range(50)]
        site.go_on.set()
        answers = await asyncio.gather(*crowd)
        assert all(answer is not None and answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in answers)
        assert all(answer is not None and b">1%<" in answer for answer in answers)
        assert site.asked <= 2  # who came while the first was asked may not have its answer, if something has changed
        assert not polls._waiting

    in_site(main)


def test_who_comes_after_the_view_has_read_waits_for_the_next(running: Dataset) -> None:
    run = Run.objects.get()

    async def main(_: Site) -> None:
        site = LateSite()
        polls = await hold_up(site, run)
        early = waiting(polls)
        await site.begun.acquire()
        await aside(services.report, run.pk, current=2)
        late = [waiting(polls) for _ in range(3)]
        site.go_on.set()
        assert b">1%<" in (await early or b"")
        assert all(b">2%<" in (answer or b"") for answer in await asyncio.gather(*late))

    in_site(main)


def test_a_view_that_fails_leaves_nobody_waiting(running: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.objects.get()

    async def main(_: Site) -> None:
        site = LateSite()
        polls = await hold_up(site, run)
        site.failing = 2
        crowd = [waiting(polls) for _ in range(5)]
        site.go_on.set()
        answers = await asyncio.gather(*crowd)
        assert answers[:2] == [None, None], "they are left to Twisted"
        assert all(b">1%<" in (answer or b"") for answer in answers[2:])

    in_site(main)
    assert caplog.text.count("a poll could not be answered with others") == 2


def test_whom_nobody_knows_to_see_the_dataset_waits_with_no_other(running: Dataset) -> None:
    async def main(site: Site) -> None:
        polls = polls_of(site)
        await site.shared(header("cats"))
        scope = polls.read(request_of("/datasets/cats/progress/header/", "cookie: sessionid=0123456789abcdef"), CLIENT)
        assert scope is not None
        assert not polls.answer_later(scope, lambda _: None)

    in_site(main)


def test_who_has_asked_too_often_is_refused_by_the_view_and_holds_up_no_other(running: Dataset, settings: Any) -> None:
    settings.READS_PER_ADDRESS = 1  # and a burst of five
    run = Run.objects.get()

    async def main(site: Site) -> None:
        polls = polls_of(site)
        client = ("203.0.113.9", 1)  # whose reads no other test has counted
        await site.shared(json("cats") | {"client": client})
        await aside(services.report, run.pk, current=1)
        poll = request_of("/api/datasets/cats/progress")
        answers = await asyncio.gather(*(waiting(polls, poll, client) for _ in range(8)))
        counts = [answer is None or b"HTTP/1.1 429 " in answer for answer in answers]
        assert sum(counts) in (3, 4)  # the first that was counted is that of the view

    in_site(main)


# --- On a server -----------------------------------------------------------------------------------------------------


@pytest.fixture
def served(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server with a public dataset, and the address of its database, in which a test may lock a table."""
    url = f"{postgresql.url.rpartition('/')[0]}/waiting"
    env = {"DATABASE_URL": url}
    collect_static()  # for pages that say that the server is busy
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE waiting")
        run_quietly([sys.executable, "manage.py", "migrate"], env=environment(env), cwd=ROOT)
        token = run_quietly([sys.executable, "manage.py", "create_token", "t"], env=environment(env), cwd=ROOT).strip()
        with web_server(tmp_path / "log", env=env, program=DAPHNE) as server:
            reported = httpx.post(
                f"{server.url}/api/datasets/cats/progress", json={"current": 1, "total": 100}, timeout=60,
                headers={"Authorization": f"Bearer {token}"},
            )  # fmt: skip
            assert reported.status_code == 200
            yield server, url
        connection.execute("DROP DATABASE waiting WITH (FORCE)")


@contextmanager
def locked(url: str) -> Iterator[Callable[[socket.socket], bool]]:
    """Have no one read the progress of datasets, not even the hub, which soon does not know any more what holds.

    Gives a function that polls, and returns whether the poll waits; else its answer has been read.
    """
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'progress_head'::regclass"
    with psycopg.connect(url) as locking, psycopg.connect(url, autocommit=True) as watching:
        locking.execute("LOCK TABLE progress_head IN ACCESS EXCLUSIVE MODE")

        def is_held_up() -> bool:
            [count] = watching.execute(waiting).fetchone() or [0]
            return count >= 2  # the hub and the view

        def poll_is_held_up(line: socket.socket) -> bool:
            line.sendall(POLL)
            wait_until(lambda: has_answer(line) or is_held_up(), seconds=30, what="the poll is neither here nor there")
            if has_answer(line):
                assert line.recv(65_536)
                return False
            return True

        yield poll_is_held_up
        locking.rollback()


def has_answer(line: socket.socket) -> bool:
    return bool(select.select([line], [], [], 0)[0])


def test_what_comes_while_a_poll_waits_is_answered_after_it(served: tuple[Server, str]) -> None:
    server, url = served
    none = request_of("/api/none", "connection: close")  # which needs no database
    odd_number = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: " + b"9" * 5_000 + b"\r\n\r\n"
    with line_to(server) as line, line_to(server) as leaving, line_to(server) as odd, line_to(server) as other:
        line.sendall(POLL)
        assert line.recv(65_536)  # now its caller is known
        with locked(url) as poll_is_held_up:
            while not poll_is_held_up(line):
                pass
            for one in (leaving, odd, other):
                one.sendall(POLL)
            leaving.close()
            odd.sendall(odd_number)  # which Twisted cannot read
            line.sendall(none)
            assert request(server, "/api/none").status == 404
            assert not has_answer(line)
        answers = until_closed(line)
        assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404"]
        assert until_closed(odd).startswith(b"HTTP/1.1 200 ")
        assert other.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_what_the_view_never_sees_is_answered_as_by_twisted(served: tuple[Server, str]) -> None:
    server, _ = served
    path = "/datasets/cats/progress/header/"
    large = f"x-large: {'x' * 20_000}"
    with line_to(server) as line:
        line.sendall(POLL)
        assert line.recv(65_536).startswith(b"HTTP/1.1 200 ")
        line.sendall(request_of(path, host="elsewhere.example") + request_of(path, large))
        answers = until_closed(line)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"400", b"431"]
    with line_to(server) as line:
        line.sendall(request_of(path, host="elsewhere.example"))
        while b"\r\n\r\n" not in (head := line.recv(65_536, socket.MSG_PEEK)):
            pass
    assert "Content-Length" in answer_of(head).headers
