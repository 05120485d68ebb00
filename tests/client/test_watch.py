"""Programs watch a dataset: over a WebSocket, by polling, or set by hand."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest
from dataset_progress import Progress, Refused, Unreachable, Watch, _api, _watcher, simulate, watch
from dataset_progress._watch import Mode

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.progress.reports import Report, accept_reports
from apps.progress.transitions import State
from tests.processes import kill, web_server
from tests.services import free_port, wait_until

from .conftest import script

THREAD = "dataset-progress-watch"


def report(**fields: object) -> None:
    dataset, _ = Dataset.objects.get_or_create(dataset_id="cats", defaults={"visibility": "private"})
    accept_reports([(dataset.pk, Report(**fields))])  # type: ignore[arg-type]  # of several types


def seen(watched: Watch, current: int) -> Progress:
    wait_until(
        lambda: watched.progress is not None and watched.progress.current == current, seconds=90,
        what=f"{current} was not seen",
    )  # fmt: skip
    assert watched.progress is not None
    return watched.progress


@pytest.mark.parametrize("mode", ["websocket", "polling"])
def test_a_life_is_seen_to_its_end(address: str, mode: Mode) -> None:
    report(current=1, total=9)
    watched = watch("cats", mode, polling_interval=0.05)
    assert watched.is_loading
    states: list[Progress] = []
    for progress in watched:
        states.append(progress)
        if progress.current == 1 and not progress.is_finished:
            report(current=5, message="half")
        elif progress.current == 5:
            report(state=State.READY)
    assert [(state.state, state.current) for state in states] == [("indexing", 1), ("indexing", 5), ("ready", 5)]
    assert states[1].message == "half"
    assert states[-1].details["version"] == states[-1].version
    assert (watched.is_loading, watched.is_over, watched.error) == (False, True, None)


def test_an_event_loop_watches_too(address: str) -> None:
    report(current=1, total=9)

    async def job() -> list[str]:
        states = []
        async for progress in watch("cats"):
            states.append(progress.state)
            await asyncio.to_thread(report, state=State.ERROR, error="disk full")
        return states

    assert asyncio.run(job()) == ["indexing", "error"]


@pytest.mark.parametrize("mode", ["websocket", "polling"])
def test_a_dataset_that_is_not_there(address: str, mode: Mode) -> None:
    watched = watch("nothing", mode)
    with pytest.raises(Refused):
        list(watched)
    assert isinstance(watched.error, Refused)
    assert watched.error.status == 404


def test_a_server_that_is_down_is_given_up_on() -> None:
    watched = watch("cats", "polling", 0.01, max_failures=3, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable):
        list(watched)


@pytest.mark.parametrize("mode", ["websocket", "polling"])
def test_a_token_that_is_none_is_said_to_be(address: str, mode: Mode) -> None:
    report(current=1)
    with pytest.raises(Refused) as refusal:
        list(watch("cats", mode, token="dp_none"))
    assert refusal.value.status == 401


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Start a server that answers every request with the same bytes. Yield its address and the requests."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)


NOT_NOW = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def test_after_five_attempts_it_polls_and_in_the_end_gives_up() -> None:
    with answering(NOT_NOW) as (url, asked):
        watched = watch("cats", polling_interval=0.01, max_failures=4, url=url).start()
        wait_until(lambda: watched.trouble is not None, seconds=30, what="no trouble was shown")
        with pytest.raises(Refused):
            list(watched)
    assert ["/ws" in line.split(b"\r\n")[0].decode() for line in asked] == [True] * 5 + [False] * 4


def test_a_server_that_is_busy_is_not_given_up() -> None:
    body = b'{"detail": "busy", "code": "unavailable"}'
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    with answering(busy) as (url, asked), watch("cats", "polling", 0.01, max_failures=2, url=url) as watched:
        wait_until(lambda: len(asked) >= 5, seconds=30, what="it was not asked again")
        assert isinstance(watched.trouble, Refused)
        assert watched.error is None


def test_while_it_fails_it_asks_ever_less_often() -> None:
    with answering(NOT_NOW) as (url, asked), watch("cats", "polling", 0.05, max_failures=1000, url=url):
        wait_until(lambda: len(asked) >= 2, seconds=30, what="it was not asked again")
        threading.Event().wait(3)
        assert len(asked) <= 9


def test_frames_that_are_none_of_ours_end_nothing() -> None:
    from websockets.sync.server import ServerConnection, serve

    def talk(connection: ServerConnection) -> None:
        for frame in ("[]", "nonsense", '{"type": "progress_update"}', '{"type": "progress_update", "payload": 5}'):
            connection.send(frame)

    with serve(talk, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        watched = watch("cats", url=f"http://127.0.0.1:{server.socket.getsockname()[1]}").start()
        wait_until(lambda: watched.trouble is not None, seconds=30, what="no trouble was shown")
        assert watched.error is None
        watched.stop()
        server.shutdown()


def state(version: int, epoch: str = "one", name: str = "indexing") -> dict[str, object]:
    return {
        "dataset_id": "cats", "state": name, "current": version, "total": 99, "message": "", "error": None,
        "version": version, "epoch": epoch,
    }  # fmt: skip


def follow(url: str, mode: Literal["websocket", "polling"], transport: httpx.BaseTransport | None = None) -> list[int]:
    """Follow the cats to their end. Return the versions of all states, of which a loop over `watch` may miss some."""
    versions: list[int] = []
    _watcher.Watcher(
        "cats", _api.Api(_api.Server(url, ""), transport), mode=mode, polling_interval=0.01, max_failures=9,
        wait=0, linger=0, stopped=threading.Event(), on_progress=lambda progress: versions.append(progress.version),
        on_trouble=lambda error: None,
    ).run()  # fmt: skip
    return versions


# Each inner list is a connection, with what it says: (version, epoch, state).
GONE_BACK = [
    ([[(7, "one", "indexing")], [(3, "one", "ready")]], [7, 3]),  # the first state of a connection is the truth
    ([[(7, "one", "indexing"), (3, "one", "ready"), (8, "one", "ready")]], [7, 8]),  # later, what is older is dropped
    ([[(7, "one", "indexing"), (3, "two", "ready")]], [7, 3]),  # of another epoch, nothing is older
]


@pytest.mark.parametrize(("connections", "versions"), GONE_BACK)
def test_older_state_is_shown_where_the_database_has_gone_back(
    connections: list[list[tuple[int, str, str]]], versions: list[int]
) -> None:
    from websockets.sync.server import ServerConnection, serve

    left = iter(connections)

    def talk(connection: ServerConnection) -> None:
        connection.recv()
        for one in next(left, []):
            connection.send(json.dumps({"type": "progress_update", "payload": state(*one)}))

    with serve(talk, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = follow(f"http://127.0.0.1:{server.socket.getsockname()[1]}", "websocket")
        server.shutdown()
    assert shown == versions


def test_poll_is_true_whatever_its_version() -> None:
    answers = iter([state(7), state(3), state(4, name="ready")])
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=next(answers)))
    assert follow("http://127.0.0.1:9", "polling", transport) == [7, 3, 4]


@pytest.mark.parametrize("way", ["for", "async for"])
def test_leaving_the_loop_ends_it_and_its_thread(address: str, way: str) -> None:
    report(current=1)

    async def job() -> None:
        async for _ in watch("cats"):
            break

    if way == "for":
        for _ in watch("cats"):
            break
    else:
        asyncio.run(job())
    wait_until(
        lambda: THREAD not in {thread.name for thread in threading.enumerate()}, seconds=30, what="it goes on"
    )  # fmt: skip


def test_a_task_that_is_cancelled_lets_the_program_end() -> None:
    code = """
import asyncio, sys
from dataset_progress import watch
async def job():
    async for _ in watch("cats", url=sys.argv[1]):
        pass
async def main():
    try:
        await asyncio.wait_for(job(), 0.5)
    except (asyncio.TimeoutError, TimeoutError):
        print("cancelled")
asyncio.run(main())
"""
    ended = script(code, f"http://127.0.0.1:{free_port()}")
    assert (ended.returncode, ended.stdout) == (0, "cancelled\n"), ended.stderr


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        ("//", {}),
        ("", {}),
        ("cats", {"polling_interval": 0}),
        ("cats", {"polling_interval": -1}),
        ("cats", {"url": ""}),
    ],
)
def test_what_cannot_be_watched_is_refused_at_once(dataset: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        watch(dataset, **{"url": "http://127.0.0.1:9", **options})  # type: ignore[arg-type]  # of several types


def test_stop_ends_it_and_its_thread(address: str) -> None:
    report(current=1)
    before = set(threading.enumerate())
    with watch("cats") as watched:
        seen(watched, 1)
        assert set(threading.enumerate()) - before
    wait_until(lambda: set(threading.enumerate()) <= before, seconds=30, what="a thread is left")
    watched.stop()


class Proxy(httpx.HTTPTransport):
    """Sends requests to the server, whatever their port. A WebSocket does not go through it."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.port = int(address.rpartition(":")[2])
        self.asked = 0
        self.is_down = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            raise httpx.ConnectError("down")
        self.asked += 1
        request.url = request.url.copy_with(port=self.port)
        return super().handle_request(request)


def test_where_no_socket_can_be_had_it_polls_and_returns(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watcher, "SOCKET_RETRY_SECONDS", 0.2)
    report(current=1, total=9)
    port, proxy = free_port(), Proxy(address)
    with watch(
        "cats", polling_interval=0.1, url=f"http://127.0.0.1:{port}", transport=proxy, max_failures=1000
    ) as watched:
        seen(watched, 1)
        report(current=2)
        seen(watched, 2)
        assert proxy.asked >= 2
        with web_server(tmp_path / "log", port=port) as server:
            proxy.is_down = True
            report(current=3)
            seen(watched, 3)  # which only a socket can have received
            kill(server.process)
        proxy.is_down = False
        report(current=4)
        seen(watched, 4)


def test_it_survives_a_restart_of_the_server(transactional_db: None, tmp_path: Path) -> None:
    port = free_port()
    _, secret = issue_token("watcher", can_write=False)
    report(current=1, total=9)
    with watch("cats", url=f"http://127.0.0.1:{port}", token=secret, max_failures=1000) as watched:
        with web_server(tmp_path / "first", port=port) as server:
            seen(watched, 1)
            kill(server.process)
        report(current=2)
        with web_server(tmp_path / "second", port=port):
            seen(watched, 2)
            report(current=3)
            seen(watched, 3)


def test_by_hand() -> None:
    watched = watch("cats", "manual")
    assert watched.progress == Progress("cats")
    watched.update(5, 20, "reading")
    assert watched.progress == Progress("cats", "indexing", 5, 20, "reading", None, 25.0)
    watched.update(10)
    assert watched.progress.total == 20
    watched.set_ready()
    assert (watched.progress.state, watched.progress.current, watched.is_over) == ("ready", 20, True)
    failed = watch("cats", "manual")
    failed.set_error("disk full")
    assert failed.progress is not None
    assert (failed.progress.state, failed.progress.error) == ("error", "disk full")
    assert [progress.state for progress in failed] == ["error"]


def test_by_hand_is_for_manual_mode(address: str) -> None:
    with pytest.raises(RuntimeError):
        watch("cats").update(1)
    with pytest.raises(ValueError, match="mode"):
        Watch("cats", "push")  # type: ignore[arg-type]  # not a mode


def test_a_simulated_life(address: str) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(0)

    simulate("cats", items=30, seconds=3, failures=2, sleep=sleep, flush_seconds=20)
    progress = Watch("cats").start()
    wait_until(lambda: progress.is_over, seconds=20, what="it did not end")
    assert progress.progress is not None
    assert (progress.progress.state, progress.progress.details["failed"]) == ("ready", 2)
    assert sum(slept) == pytest.approx(3, rel=0.3)
    simulate("cats", items=10, seconds=0, error="out of memory", sleep=sleep, flush_seconds=20)
    assert [each.error for each in watch("cats")][-1] == "out of memory"
