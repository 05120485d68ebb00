"""The hub rests while nobody watches, and is there for whoever comes, in whichever moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from apps.datasets.models import Dataset
from apps.live.frames import Form
from apps.live.hub import Hub
from apps.live.watchers import Watcher
from tests import services

from .test_watchers import in_a_loop


@pytest.mark.parametrize("has_redis", [False, True])
def test_watcher_that_comes_while_the_hub_goes_to_rest_is_served(
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

            async def gone(dataset_pk: int) -> None:
                raise AssertionError("it is there")

            watcher = Watcher(Form.JSON, send, gone)
            hub.watch(dataset.pk, watcher)
            async with asyncio.timeout(10):
                await shown.wait()
            return watcher

        hub.unwatch(dataset.pk, await watch())
        # It goes to rest when it ends what it does aside.
        aside = next(task for task in asyncio.all_tasks() if task.get_name() == "hub: access")
        while not aside.cancelling():  # noqa: ASYNC110 -- nothing tells of a cancellation that was asked for
            await asyncio.sleep(0)
        hub.unwatch(dataset.pk, await watch())
        await asyncio.get_running_loop().run_in_executor(hub._reader, connections.close_all)

    in_a_loop(main)
