"""Tells the web processes over Redis, if there is one, of what was committed elsewhere.

What is told is but which dataset has reached which version. What is lost is found by the hubs' own looks, so nothing
here keeps a reporter waiting or raises: reporting goes on whatever becomes of the bell.
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
# However fast a process reports, its rings go out at most so often: no faster than a hub shows them.
PUBLISH_SECONDS: Final = 0.1
TIMEOUT_SECONDS: Final = 2.0
RECONNECT_SECONDS: Final = 1.0


class Publisher:
    """Sends the rings of one process, from a thread of its own; of several for one dataset the last."""

    def __init__(self, url: str) -> None:
        self._server = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),  # for a connection that Redis' restart has cut
        )
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._rung: dict[int, int] = {}
        self._wake = threading.Event()
        self._is_reached = True
        self._pid = 0

    def ring(self, change: Change) -> None:
        with self._lock:
            self._rung[change.dataset_pk] = change.version
            if self._pid != os.getpid():  # the first ring, or the first in a forked process, which has no threads
                self._pid = os.getpid()
                self._publishing = threading.Lock()  # the parent's may have been taken
                threading.Thread(target=self._run, name="doorbell", daemon=True).start()
                # The last ring of a command is the one that tells how it ended.
                atexit.register(self._publish)
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._publish()
            time.sleep(PUBLISH_SECONDS)

    def _publish(self) -> None:
        if self._pid != os.getpid():
            return  # the end of a forked process that has rung nothing
        with self._publishing:  # an end of the process waits for what the thread is sending
            with self._lock:
                rung, self._rung = self._rung, {}
            if not rung:
                return
            try:
                self._server.publish(CHANNEL, " ".join(f"{pk}:{version}" for pk, version in rung.items()))
                self._is_reached = True
            except RedisError as error:
                if self._is_reached:
                    logger.warning("Redis cannot be reached, pages hear of changes up to 2 s later: %s", error)
                self._is_reached = False


def _changes(message: bytes) -> Iterator[Change]:
    for part in message.decode("ascii", errors="ignore").split():
        pk, _, version = part.partition(":")
        if pk.isdigit() and version.isdigit():
            yield Change(int(pk), int(version))


async def listen(url: str, heard: Callable[[Change], None], connected: Callable[[bool], None]) -> None:
    """Hand what every process rings to ``heard``; tell ``connected`` when the bell can be heard, and when not."""
    while True:
        try:
            async with (
                redis.asyncio.Redis.from_url(
                    url, socket_connect_timeout=TIMEOUT_SECONDS, retry=AsyncRetry(NoBackoff(), 0)
                ) as server,
                server.pubsub(ignore_subscribe_messages=True) as bell,
            ):
                await bell.subscribe(CHANNEL)
                connected(True)
                async for message in bell.listen():
                    for change in _changes(message["data"]):
                        heard(change)
        except Exception as error:  # whatever it is, the versions can be read
            logger.warning("the doorbell cannot be heard, versions are read instead: %s", error)
        finally:
            connected(False)
        await asyncio.sleep(RECONNECT_SECONDS)
