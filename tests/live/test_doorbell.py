"""Changes that are written in other processes, with and without Redis between them."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as redis_client
from websockets.sync.client import connect

from apps.datasets.models import Dataset
from apps.live.doorbell import CHANNEL, Publisher
from apps.progress import services
from apps.progress.models import Head, Run
from apps.progress.services import StagePlan
from apps.progress.signals import Change
from tests import services as programs
from tests.processes import Server, environment, web_server
from tests.repository import ROOT

from .conftest import Socket, open_socket


@pytest.fixture
def run(dataset: Dataset) -> Run:
    run = services.begin_run(dataset, [StagePlan("index", total=1_000_000)])
    return services.start_stage(run.pk, "index")


@pytest.fixture
def bell(redis: programs.Redis) -> Iterator[redis_client.client.PubSub]:
    """A subscription to the doorbell's channel."""
    with redis_client.Redis.from_url(redis.url) as server, server.pubsub() as bell:
        bell.subscribe(CHANNEL)
        assert bell.get_message(timeout=30) is not None  # that it is subscribed
        yield bell


@pytest.fixture
def rung_server(django_db_setup: None, redis: programs.Redis, tmp_path: Path) -> Iterator[Server]:
    with web_server(tmp_path / "log", env={"REDIS_URL": redis.url}) as server:
        yield server


def report_elsewhere(run: Run, writes: int, redis_url: str) -> None:
    """Report from another process."""
    command = [sys.executable, "-m", "tests.progress.writer", str(run.pk), "--writes", str(writes)]
    subprocess.run(
        command, env=environment({"REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "progress_site.settings"}),
        cwd=ROOT, input=b"go\n", check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def until_a_hub_listens(redis: programs.Redis) -> None:
    """Wait until a hub listens, which it does while it has watchers."""
    with redis_client.Redis.from_url(redis.url) as server:
        programs.wait_until(lambda: server.pubsub_numsub(CHANNEL)[0][1] > 0, seconds=20, what="no hub listens")


def test_report_of_another_process_is_published_with_the_last_version(
    run: Run, redis: programs.Redis, bell: redis_client.client.PubSub
) -> None:
    report_elsewhere(run, 50, redis.url)
    last = f"{run.dataset_id}:{Head.objects.get(dataset=run.dataset_id).version}".encode()
    while True:
        message = bell.get_message(timeout=30)
        assert message is not None
        if message["data"].split()[-1] == last:
            break


def test_published_change_is_shown_before_the_next_check(rung_server: Server, run: Run, redis: programs.Redis) -> None:
    publisher = Publisher(redis.url)
    waits: dict[bool, list[float]] = {True: [], False: []}
    with open_socket(rung_server, "cats") as socket:
        socket.subscribe()
        socket.update()
        until_a_hub_listens(redis)
        for current in range(1, 11):
            began = time.monotonic()
            services.report(run.pk, current=current)  # publishes nothing: this process has no Redis
            version = Head.objects.get(dataset=run.dataset_id).version
            if is_published := current % 2 == 1:
                publisher.publish(Change(run.dataset_id, version))
            assert socket.until(version)[-1]["current"] == current
            waits[is_published].append(time.monotonic() - began)
    # An unpublished change is found by the next check.
    assert statistics.median(waits[True]) < statistics.median(waits[False])


def test_lost_message_is_healed(rung_server: Server, run: Run, redis: programs.Redis) -> None:
    with open_socket(rung_server, "cats") as socket:
        socket.subscribe()
        socket.update()
        until_a_hub_listens(redis)
        services.report(run.pk, current=5)  # nothing is published
        assert socket.update()["current"] == 5


@pytest.mark.parametrize("noise", [b"", b"garbage", b"1", b":", b"1:x 2:-1", b"\xff\xfe", b"9" * 100 + b":1"])
def test_malformed_messages_are_ignored(rung_server: Server, run: Run, redis: programs.Redis, noise: bytes) -> None:
    with open_socket(rung_server, "cats") as socket, redis_client.Redis.from_url(redis.url) as server:
        socket.subscribe()
        socket.update()
        until_a_hub_listens(redis)
        server.publish(CHANNEL, noise)
        services.report(run.pk, current=5)
        assert socket.update()["current"] == 5


def test_redis_may_die_and_come_back(django_db_setup: None, run: Run, tmp_path: Path) -> None:
    port = programs.free_port()
    env = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with ExitStack() as stack:
        with programs.redis(port):
            server = stack.enter_context(web_server(tmp_path / "log", env=env))
        socket = stack.enter_context(open_socket(server, "cats"))
        socket.subscribe()
        socket.update()
        shown = []
        for count in (10, 20, 30):
            if count == 20:
                report_elsewhere(run, count, env["REDIS_URL"])
            else:
                with programs.redis(port) as redis:
                    until_a_hub_listens(redis)
                    report_elsewhere(run, count, env["REDIS_URL"])
            version = Head.objects.get(dataset=run.dataset_id).version
            shown += socket.until(version)
            assert shown[-1]["current"] == count
        # A run that nobody has reported on for a while is shown as slow, without a new version.
        assert [update["version"] for update in shown] == sorted(update["version"] for update in shown)
        assert len({(update["version"], update["health"]) for update in shown}) == len(shown)


def test_slow_reader_holds_up_nobody(server: Server, run: Run) -> None:
    """A client that reads nothing is sent what its connection holds; the others are sent the newest state."""
    host, port = server.host.split(":")
    with connect(f"ws://{host}:{port}/api/datasets/cats/progress/ws", max_queue=1) as slow:
        Socket(slow, "cats").subscribe()
        with open_socket(server, "cats") as quick:
            quick.subscribe()
            quick.update()
            for current in range(1, 301):
                services.report(run.pk, current=current, message="x" * 1000)
            assert quick.until(Head.objects.get(dataset=run.dataset_id).version)[-1]["current"] == 300
