"""Programs see how far a dataset is: told, by polling, or by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import httpx
import pytest
from dataset_progress import Progress, Refused, Unreachable, Watch, _watch, simulate, watch

from apps.datasets import tokens
from apps.datasets.models import Dataset
from apps.progress.reporting import Report, take
from apps.progress.transitions import State
from tests.processes import kill, web_server
from tests.services import free_port, wait_until


def say(**said: object) -> None:
    dataset, _ = Dataset.objects.get_or_create(key="cats", defaults={"visibility": "private"})
    take([(dataset.pk, Report(**said))])  # type: ignore[arg-type]


def seen(watched: Watch, current: int) -> Progress:
    wait_until(
        lambda: watched.progress is not None and watched.progress.current == current, seconds=20,
        what=f"{current} was not seen",
    )  # fmt: skip
    assert watched.progress is not None
    return watched.progress


@pytest.mark.parametrize("mode", ["websocket", "polling"])
def test_a_life_is_seen_to_its_end(address: str, mode: str) -> None:
    say(current=1, total=9)
    watched = watch("cats", mode, polling_interval=0.05)  # type: ignore[arg-type]
    assert watched.is_loading
    states: list[Progress] = []
    for progress in watched:
        states.append(progress)
        if progress.current == 1 and not progress.is_finished:
            say(current=5, message="half")
        elif progress.current == 5:
            say(state=State.READY)
    assert [(state.state, state.current) for state in states] == [("indexing", 1), ("indexing", 5), ("ready", 9)]
    assert states[1].message == "half"
    assert states[-1].details["version"] == states[-1].version
    assert (watched.is_loading, watched.is_over, watched.error) == (False, True, None)


def test_an_event_loop_watches_too(address: str) -> None:
    say(current=1, total=9)

    async def job() -> list[str]:
        states = []
        async for progress in watch("cats"):
            states.append(progress.state)
            await asyncio.to_thread(say, state=State.ERROR, error="disk full")
        return states

    assert asyncio.run(job()) == ["indexing", "error"]


@pytest.mark.parametrize("mode", ["websocket", "polling"])
def test_a_dataset_that_is_not_there(address: str, mode: str) -> None:
    watched = watch("nothing", mode)  # type: ignore[arg-type]
    with pytest.raises(Refused):
        list(watched)
    assert isinstance(watched.error, Refused)
    assert watched.error.status == 404


def test_a_server_that_is_down_is_given_up_on() -> None:
    watched = watch("cats", "polling", 0.01, max_failures=3, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable):
        list(watched)


def test_stop_ends_it_and_its_thread(address: str) -> None:
    say(current=1)
    before = threading.active_count()
    with watch("cats") as watched:
        seen(watched, 1)
        assert threading.active_count() > before
    assert threading.active_count() == before
    watched.stop()


class Proxy(httpx.HTTPTransport):
    """Lets requests through to the server, wherever they were meant to go, and no WebSocket."""

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
    monkeypatch.setattr(_watch, "RETURN_SECONDS", 0.2)
    say(current=1, total=9)
    port, proxy = free_port(), Proxy(address)
    with watch(
        "cats", polling_interval=0.1, url=f"http://127.0.0.1:{port}", transport=proxy, max_failures=1000
    ) as watched:
        seen(watched, 1)
        say(current=2)
        seen(watched, 2)
        assert proxy.asked >= 2
        with web_server(tmp_path / "log", port=port) as server:
            proxy.is_down = True
            say(current=3)
            seen(watched, 3)  # which only a socket can have told
            kill(server.process)
        proxy.is_down = False
        say(current=4)
        seen(watched, 4)


def test_it_survives_a_restart_of_the_server(transactional_db: None, tmp_path: Path) -> None:
    port = free_port()
    _, secret = tokens.issue("watcher", can_write=False)
    say(current=1, total=9)
    with watch("cats", url=f"http://127.0.0.1:{port}", token=secret, max_failures=1000) as watched:
        with web_server(tmp_path / "first", port=port) as server:
            seen(watched, 1)
            kill(server.process)
        say(current=2)
        with web_server(tmp_path / "second", port=port):
            seen(watched, 2)
            say(current=3)
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
        Watch("cats", "push")  # type: ignore[arg-type]


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
