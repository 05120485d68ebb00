"""The doorbell: tells other processes over Redis which dataset has reached which version.

A reporter never waits for Redis, and no error of Redis reaches it. The hubs find a lost message when they check the
versions.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from apps.progress.signals import Change

logger = logging.getLogger(__name__)

CHANNEL: Final = "dataset-progress:rings"
# The shortest time between two messages of a process. Hubs flush no more often.
PUBLISH_SECONDS: Final = 0.1
TIMEOUT_SECONDS: Final = 2.0
RECONNECT_SECONDS: Final = 1.0


class Publisher:
    """Publishes the changes of one process, from a thread of its own. Of several changes of a dataset, the last."""

    def __init__(self, url: str) -> None:
        self._server = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),  # one, for a connection that a restart of Redis has cut
        )
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._versions: dict[int, int] = {}  # to be published, by row id
        self._wake = threading.Event()
        self._is_connected = True
        self._pid = 0

    def publish(self, change: Change) -> None:
        """Publish a change soon. Returns at once and never raises."""
        with self._lock:
            self._versions[change.dataset_pk] = change.version
            if self._pid != os.getpid():  # the first change here, or the first after a fork, which copies no threads
                self._pid = os.getpid()
                self._publishing = threading.Lock()  # the parent's may have been held during the fork
                threading.Thread(target=self._run, name="doorbell", daemon=True).start()
                # The last change of a command says how it ended.
                atexit.register(self._send)
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._send()
            time.sleep(PUBLISH_SECONDS)

    def _send(self) -> None:
        if self._pid != os.getpid():
            return  # a forked process that published nothing is ending
        with self._publishing:  # a process that is ending waits for what the thread is sending
            with self._lock:
                versions, self._versions = self._versions, {}
            if not versions:
                return
            try:
                self._server.publish(CHANNEL, " ".join(f"{pk}:{version}" for pk, version in versions.items()))
                self._is_connected = True
            except RedisError as error:
                if self._is_connected:
                    logger.warning("Redis cannot be reached; pages show changes up to 2 s later: %s", error)
                self._is_connected = False


def _parse(message: bytes) -> Iterator[Change]:
    """Yield the changes in a message. Anything else in it is skipped."""
    for part in message.decode("ascii", errors="ignore").split():
        pk, _, version = part.partition(":")
        if pk.isdigit() and version.isdigit():
            yield Change(int(pk), int(version))


async def listen(url: str, on_change: Callable[[Change], None], on_connection: Callable[[bool], None]) -> None:
    """Pass the changes of every process to ``on_change``, and to ``on_connection`` whether Redis is connected."""
    while True:
        try:
            async with (
                redis.asyncio.Redis.from_url(
                    url, socket_connect_timeout=TIMEOUT_SECONDS, retry=AsyncRetry(NoBackoff(), 0)
                ) as server,
                server.pubsub(ignore_subscribe_messages=True) as subscription,
            ):
                await subscription.subscribe(CHANNEL)
                on_connection(True)
                async for message in subscription.listen():
                    for change in _parse(message["data"]):
                        on_change(change)
        except Exception as error:  # of any kind: without Redis, the hub's checks find the changes
            logger.warning("the doorbell is disconnected; changes are found by checking the versions: %s", error)
        finally:
            on_connection(False)
        await asyncio.sleep(RECONNECT_SECONDS)
