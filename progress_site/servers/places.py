"""Places: how many requests of a kind run at the same time. A request takes its places before it takes a thread.

What is expensive has few places of its own, so that a crowd of it holds up nothing else.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

# Requests that run at the same time, each with a thread and a database connection. Others wait for their turn.
MAX_THREADS: Final = 32
# How long a request waits for its places before it is told that the server is busy.
WAIT_SECONDS: Final = 4.5

SIMILAR: Final = "similar"
LOG_IN: Final = "log in"
ORIGINAL: Final = "original"
THUMBNAIL: Final = "thumbnail"
LIST: Final = "list"
# A search reads all vectors of a dataset, a password is slow to check on purpose, a list has many rows, and a slow
# reader takes long for a file.
PLACES: Final = {SIMILAR: 2, LOG_IN: 2, ORIGINAL: 4, THUMBNAIL: 4, LIST: 2}

_SAMPLE: Final = re.compile(r"/datasets/[^/]+/samples/[0-9]+/(?:(original|thumbnail)/)?$")
_LOG_IN: Final = re.compile(r"/(?:accounts|admin)/login/$")
_LIST: Final = re.compile(r"/(?:api/datasets)?$")


def kind_of(scope: dict[str, Any]) -> str | None:
    """Return the kind of request that has places of its own; None for all others."""
    path = scope.get("path", "")
    if (sample := _SAMPLE.search(path)) is not None:
        # A sample's page takes no other query than `?similar`.
        return sample[1] or (SIMILAR if scope.get("query_string") else None)
    if scope.get("method") == "POST":
        return LOG_IN if _LOG_IN.search(path) else None
    return LIST if _LIST.match(path) else None


class Places:
    """The places of one process. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MAX_THREADS)
        self._kinds = {kind: asyncio.Semaphore(places) for kind, places in PLACES.items()}
        self._waiting: set[asyncio.Timeout] = set()

    async def take(self, scope: dict[str, Any]) -> list[asyncio.Semaphore] | None:
        """Take the places of a request, to be released later. None where it waited in vain.

        A search waits for no other: its page asks again, and more searches would only make all of them slower.
        """
        kind = kind_of(scope)
        if kind == SIMILAR and self._kinds[SIMILAR].locked():
            return None
        wanted = [self._turns] if kind is None else [self._kinds[kind], self._turns]
        taken: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(WAIT_SECONDS) as timeout:
                self._waiting.add(timeout)
                try:
                    for place in wanted:
                        await place.acquire()
                        taken.append(place)
                finally:
                    self._waiting.discard(timeout)
        except BaseException as error:
            for place in taken:
                place.release()
            if isinstance(error, TimeoutError):
                return None
            raise
        return taken

    def refuse_waiting(self) -> None:
        """Refuse the requests that wait for a place: the database has just failed one that had waited as long for it.

        With a place they would wait for the database from the beginning, and be refused after twice the time.
        """
        for timeout in self._waiting:
            if not timeout.expired():
                timeout.reschedule(0)
