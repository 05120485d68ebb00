"""Places: how many requests of a kind run at the same time. A request takes its place before it takes a thread.

Each kind has its own places, so a crowd of one kind holds up no other. Reads have `REQUEST_THREADS`, and requests that
write half as many: writers wait for one another, and on SQLite even for those of other processes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.conf import settings

# How long a request waits for its place before it is told that the server is busy.
WAIT_SECONDS: Final = 4.5

READ: Final = "read"
WRITE: Final = "write"
SIMILAR: Final = "similar"
LOG_IN: Final = "log in"
LOG_IN_PAGE: Final = "page to log in"
ORIGINAL: Final = "original"
THUMBNAIL: Final = "thumbnail"
LIST: Final = "list"
# The kinds that have few places, and why.
FEW: Final = {
    SIMILAR: 2,  # a search reads all vectors of a dataset
    LOG_IN: 2,  # a password is slow to check on purpose
    LOG_IN_PAGE: 1,  # the form of a log-in, which is fetched before it
    ORIGINAL: 4,  # a slow reader takes long for a file
    THUMBNAIL: 4,  # as for an original
    LIST: 2,  # a list has many rows
}

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SAMPLE: Final = re.compile(r"/datasets/[^/]+/samples/[0-9]+/(?:(original|thumbnail)/)?$")
_LOG_IN: Final = re.compile(r"/(?:accounts|admin)/login/$")
_LIST: Final = re.compile(r"/(?:api/datasets)?$")


def kind_of(scope: dict[str, Any]) -> str:
    """Return the kind of a request."""
    path = scope.get("path", "")
    if (sample := _SAMPLE.search(path)) is not None:
        if sample[1] is not None:
            return sample[1]
        if scope.get("query_string"):  # a sample's page takes no other query than `?similar`
            return SIMILAR
    if scope.get("method") in _SAFE:
        return LOG_IN_PAGE if _LOG_IN.search(path) else LIST if _LIST.match(path) else READ
    return LOG_IN if scope.get("method") == "POST" and _LOG_IN.search(path) else WRITE


def places() -> dict[str, int]:
    """Return how many requests of each kind run at the same time."""
    reads: int = settings.REQUEST_THREADS
    return {READ: reads, WRITE: max(1, reads // 2), **FEW}


class PlacesOfKind:
    """The places of one kind. To have one is to have taken it and not yet released it."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._failure: asyncio.Future[None] | None = None  # done once the database fails; whoever waits then is refused

    @property
    def is_free(self) -> bool:
        return not self._free.locked()

    async def take(self) -> None:
        """Take a place, at once if one is free. `wait` is for those that can be refused."""
        await self._free.acquire()

    async def wait(self, receive: Callable[[], Awaitable[Any]]) -> bool:
        """Wait for a place. Returns whether it was taken: not where that takes too long or the client has gone."""
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
        failure = self._failure
        gone = asyncio.ensure_future(receive())
        turn = asyncio.ensure_future(self._free.acquire())
        try:
            await asyncio.wait({turn, gone, failure}, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if turn.done():
                self.release()
            raise
        finally:
            is_taken, is_in_vain = turn.done(), gone.done() or failure.done()
            turn.cancel()
            gone.cancel()
        if is_taken and is_in_vain:
            self.release()
        return is_taken and not is_in_vain

    def release(self) -> None:
        """Give a place back."""
        self._free.release()

    def refuse_waiting(self) -> None:
        """Refuse those that wait: the database has just failed one that had waited as long for it.

        With a place they would wait for the database from the beginning, and be refused after twice the time.
        """
        if self._failure is not None:
            self._failure.set_result(None)
            self._failure = None


class Places:
    """The places of one process. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._kinds = {kind: PlacesOfKind(count) for kind, count in places().items()}

    async def take(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]]) -> PlacesOfKind | None:
        """Take a place for a request, and return the places of its kind, one of which is to be released later.

        None where it waited in vain or its client has gone. ``receive`` returns once the client has gone. A search
        waits for no other: its page asks again, and more searches would only make all of them slower.
        """
        kind = kind_of(scope)
        of_kind = self._kinds[kind]
        if of_kind.is_free:
            await of_kind.take()
            return of_kind
        return of_kind if kind != SIMILAR and await of_kind.wait(receive) else None
