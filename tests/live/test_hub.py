"""The hub: it runs while anyone watches, survives failures, and keeps the promised times."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from apps.datasets.models import Dataset
from apps.live import hub, limits
from apps.live import rendering as frames
from apps.live.consumers import ListConsumer, PageConsumer
from apps.live.hub import Hub
from apps.live.rendering import Form
from apps.live.watcher import Watcher
from apps.pages import link
from apps.progress import services as progress
from apps.progress.models import Head, Stage
from apps.progress.reports import Report, accept_reports
from apps.progress.transitions import State
from tests import services

from .test_watcher import in_a_loop


@pytest.mark.parametrize("has_redis", [False, True])
def test_watcher_that_comes_while_the_hub_stops_is_served(
    dataset: Dataset, redis: services.Redis, settings: Settings, has_redis: bool
) -> None:
    settings.REDIS_URL = redis.url if has_redis else ""

    async def main() -> None:
        hub = Hub()

        async def watch() -> Watcher:
            """A watcher, once it has been shown something."""
            shown = asyncio.Event()

            async def send(message: dict[str, Any]) -> None:
                shown.set()

            def on_drop(dataset_pk: int) -> None:
                raise AssertionError("the dataset exists")

            watcher = Watcher(Form.JSON, send, on_drop)
            hub.watch(dataset.pk, watcher)
            async with asyncio.timeout(10):
                await shown.wait()
            return watcher

        hub.unwatch(dataset.pk, await watch())
        # The hub ends its background tasks before it stops.
        aside = next(task for task in asyncio.all_tasks() if task.get_name() == "hub: access")
        while not aside.cancelling():  # noqa: ASYNC110 -- no event marks a requested cancellation
            await asyncio.sleep(0)
        hub.unwatch(dataset.pk, await watch())
        await asyncio.get_running_loop().run_in_executor(hub._reader, connections.close_all)

    in_a_loop(main)


class Shown:
    """A watcher that takes everything, and records the texts."""

    def __init__(self, form: Form = Form.JSON, identity: str = "", drop_error: BaseException | None = None) -> None:
        self.texts: list[str] = []
        self._drop_error = drop_error
        self.watcher = Watcher(form, self._send, self._on_drop, identity)

    async def _send(self, message: dict[str, Any]) -> None:
        self.texts.append(message["text"])

    def _on_drop(self, dataset_pk: int) -> None:
        if self._drop_error is not None:
            raise self._drop_error

    async def until(self, text: str) -> None:
        async with asyncio.timeout(30):
            while not any(text in shown for shown in self.texts):  # noqa: ASYNC110 -- no event marks it
                await asyncio.sleep(0.01)


@asynccontextmanager
async def hub_of_its_own() -> AsyncIterator[Hub]:
    """A hub whose database connections are closed afterwards."""
    one = Hub()
    yield one
    for executor in (one._reader, one._access_reader):
        await asyncio.get_running_loop().run_in_executor(executor, connections.close_all)


async def aside(write: Any, *arguments: Any) -> None:
    """Write to the database from another thread."""

    def writing() -> None:
        write(*arguments)
        connections.close_all()

    await asyncio.to_thread(writing)


def test_hub_restarts_after_a_failure(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ACCESS_CHECK_SECONDS", 0.2)
    monkeypatch.setattr(hub, "RETRY_SECONDS", 0.1)
    secret = Dataset.objects.create(dataset_id="secret", visibility="private")

    async def main() -> None:
        async with hub_of_its_own() as one:
            stranger, witness = Shown(drop_error=RuntimeError("a watcher has failed")), Shown()
            one.watch(secret.pk, stranger.watcher)
            one.watch(dataset.pk, witness.watcher)
            await witness.until("pending")
            async with asyncio.timeout(30):
                while secret.pk in one.subscriptions.datasets:  # noqa: ASYNC110 -- no event marks it
                    await asyncio.sleep(0.01)
            await aside(progress.begin_run, dataset)
            await witness.until('"run":1')
            one.unwatch(dataset.pk, witness.watcher)

    in_a_loop(main)


def test_dataset_that_cannot_be_shown_hides_no_other(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    broken = Dataset.objects.create(dataset_id="broken", visibility="public")
    accept_reports([(broken.pk, Report(state=State.INDEXING, total=5))])
    Stage.objects.update(readings=[["x", 1], ["y", 2]])

    async def main() -> None:
        async with hub_of_its_own() as one:
            other, witness = Shown(), Shown()
            one.watch(broken.pk, other.watcher)
            one.watch(dataset.pk, witness.watcher)
            await witness.until("pending")
            await aside(progress.begin_run, dataset)
            await witness.until('"run":1')
            assert other.texts == []
            one.unwatch(dataset.pk, witness.watcher)
            one.unwatch(broken.pk, other.watcher)

    in_a_loop(main)
    assert caplog.text.count("cannot be shown") == 1


def test_versions_that_have_gone_back_are_sent_in_another_epoch(dataset: Dataset) -> None:
    run = progress.begin_run(dataset, [progress.StagePlan("index")])
    progress.start_stage(run.pk, "index")
    other = Dataset.objects.create(dataset_id="dogs", visibility="public")
    progress.begin_run(other)
    epochs = dict(Head.objects.values_list("pk", "epoch"))

    def go_back() -> None:
        Head.objects.filter(pk=dataset.pk).update(version=1)

    async def main() -> None:
        async with hub_of_its_own() as one:
            shown = Shown()
            one.watch(dataset.pk, shown.watcher)
            await shown.until('"version":2')
            await aside(go_back)
            await shown.until('"version":1,')
            one.unwatch(dataset.pk, shown.watcher)
            first, last = (json.loads(shown.texts[index])["payload"] for index in (0, -1))
            assert (first["epoch"], first["version"]) == (epochs[dataset.pk], 2)
            assert last["version"] == 1
            assert all(f'"epoch":"{epochs[dataset.pk]}"' not in text for text in shown.texts if '"version":1,' in text)

    in_a_loop(main)
    after = dict(Head.objects.values_list("pk", "epoch"))
    assert not set(after.values()) & set(epochs.values())


def test_hub_that_cannot_read_sends_no_keepalive(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "KEEPALIVE_SECONDS", 0.05)
    monkeypatch.setattr(hub, "MAX_CHECK_AGE_SECONDS", 0.5)
    monkeypatch.setattr(hub, "RETRY_SECONDS", 0.05)

    async def main() -> None:
        async with hub_of_its_own() as one:
            page = Shown(Form.PANEL)
            one.watch(dataset.pk, page.watcher)
            await page.until(frames.KEEPALIVE)
            reader, one._reader = one._reader, type(one._reader)(1)
            one._reader.shutdown()  # every read fails
            # No event marks the time that has passed.
            async with asyncio.timeout(30):
                while time.monotonic() - one._last_check_at <= hub.MAX_CHECK_AGE_SECONDS:  # noqa: ASYNC110 -- the hub fires no event for it
                    await asyncio.sleep(0.01)
            before = len(page.texts)
            await asyncio.sleep(0.5)
            assert len(page.texts) == before
            one._reader = reader
            page.texts.clear()
            await page.until(frames.KEEPALIVE)
            one.unwatch(dataset.pk, page.watcher)

    in_a_loop(main)


@pytest.mark.parametrize("consumer", [PageConsumer, ListConsumer])
def test_socket_that_fails_is_removed_from_the_counts(transactional_db: None, consumer: Any) -> None:
    async def main() -> None:
        scope = {"type": "websocket", "headers": [], "client": ("10.1.1.1", 1)}  # without a URL

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            pass

        with pytest.raises(KeyError):
            await consumer.as_asgi()(scope, receive, send)
        assert "10.1.1.1" not in limits._connections
        assert not hub.current_hub().subscriptions.lists

    in_a_loop(main)


def test_newcomer_of_a_crowd_is_sent_what_the_others_show_before_anything_is_read(dataset: Dataset) -> None:
    async def main() -> None:
        async with hub_of_its_own() as one:
            first, second = Shown(), Shown()
            one.watch(dataset.pk, first.watcher)
            assert not one.send_known(dataset.pk, first.watcher)
            await first.until("pending")
            one.watch(dataset.pk, second.watcher)
            assert one.send_known(dataset.pk, second.watcher)
            assert second.texts == first.texts  # and nothing was awaited
            await aside(progress.begin_run, dataset)
            await second.until('"run":1')
            for shown in (first, second):
                one.unwatch(dataset.pk, shown.watcher)

    in_a_loop(main)


def test_newcomer_is_not_sent_what_others_show_in_another_form(dataset: Dataset) -> None:
    async def main() -> None:
        async with hub_of_its_own() as one:
            first, page = Shown(), Shown(Form.PANEL)
            one.watch(dataset.pk, first.watcher)
            await first.until("pending")
            one.watch(dataset.pk, page.watcher)
            assert not one.send_known(dataset.pk, page.watcher)
            await page.until("dataset-live")
            await aside(progress.begin_run, dataset)
            await page.until("v=1")
            another = Shown(Form.PANEL)
            one.watch(dataset.pk, another.watcher)
            assert one.send_known(dataset.pk, another.watcher)
            assert another.texts == page.texts[-1:]
            for shown in (first, page, another):
                one.unwatch(dataset.pk, shown.watcher)

    in_a_loop(main)


def test_intervals_keep_the_promised_times() -> None:
    """Sent within 2 s of being written, taken away within 5 s, and never silent for as long as a page waits."""
    assert max(hub.CHECK_SECONDS, hub.HEALING_CHECK_SECONDS) + hub.LONGEST_FLUSH_SECONDS <= 2
    assert hub.ACCESS_CHECK_SECONDS + hub.LONGEST_FLUSH_SECONDS <= 5
    assert link.attributes()["silence-ms"] / 1000 >= 3 * hub.KEEPALIVE_SECONDS


@pytest.mark.parametrize(
    ("sending_seconds", "interval"), [(0.0, 0.1), (0.03, 0.1), (0.1, 0.3), (0.2, 0.6), (30.0, 0.9)]
)
def test_a_crowd_is_served_less_often(sending_seconds: float, interval: float) -> None:
    assert hub.flush_interval(sending_seconds) == pytest.approx(interval)
