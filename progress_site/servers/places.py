"""Places: how many requests of a kind run at the same time. Each kind has its own, so a crowd of one holds up no other.

Reads have `REQUEST_THREADS`, and take turns. Requests that write have half as many: they wait for one another, and on
SQLite even for those of other processes. Their places are the threads of `write_threads`. All others take a place
before they take a thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.conf import settings

from .handler import Message
from .polls import ADDRESS

# How long a request waits for its place before it is told that the server is busy.
WAIT_SECONDS: Final = 4.5

# After this long a request is slow: it waits for the database, or has much to do.
SLOW_SECONDS: Final = 0.05

READ: Final = "read"
POLLED: Final = "polled"
WRITE: Final = "write"
SIMILAR: Final = "similar"
LOG_IN: Final = "log in"
LOG_IN_PAGE: Final = "page to log in"
ORIGINAL: Final = "original"
THUMBNAIL: Final = "thumbnail"
LIST: Final = "list"
# The kinds that have few places, and why.
FEW: Final = {
    POLLED: 4,  # most are answered from memory; the rest must not wait behind pages, which take longer
    SIMILAR: 2,  # a search reads all vectors of a dataset
    LOG_IN: 2,  # a password is slow to check on purpose
    LOG_IN_PAGE: 1,  # the form of a log-in, which is fetched before it
    ORIGINAL: 4,  # a slow reader takes long for a file
    THUMBNAIL: 4,  # as for an original
    LIST: 2,  # a list has many rows
}

# How many requests of a kind begin beside each other, unless they are slow. The interpreter renders one at a time:
# beside each other they would end no sooner, and a report would wait for several of them at each of its statements.
_TURNS: Final = {READ: 1, POLLED: 1}

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SAMPLE: Final = re.compile(r"/datasets/[^/]+/samples/[0-9]+/(?:(original|thumbnail)/)?$")
_LOG_IN: Final = re.compile(r"/(?:accounts|admin)/login/$")
# The kinds of requests that only read.
_SAFE_KINDS: Final = {
    LOG_IN_PAGE: _LOG_IN,
    LIST: re.compile(r"^/(?:api/datasets)?$"),
    POLLED: re.compile(rf"{ADDRESS.pattern}$"),
}


def kind_of(scope: dict[str, Any]) -> str:
    """Return the kind of a request."""
    path = scope.get("path", "")
    if (sample := _SAMPLE.search(path)) is not None:
        if sample[1] is not None:
            return sample[1]
        if scope.get("query_string"):  # a sample's page takes no other query than `?similar`
            return SIMILAR
    if scope.get("method") in _SAFE:
        return next((kind for kind, pattern in _SAFE_KINDS.items() if pattern.search(path)), READ)
    return LOG_IN if scope.get("method") == "POST" and _LOG_IN.search(path) else WRITE


def places() -> dict[str, int]:
    """Return how many requests of each kind run at the same time."""
    reads: int = settings.REQUEST_THREADS
    return {READ: reads, WRITE: max(1, reads // 2), **FEW}


class Place:
    """A place that a request has taken, with a turn. A request that is slow passes the turn on and keeps the place."""

    def __init__(self, of_kind: PlacesOfKind) -> None:
        self._of_kind = of_kind
        self._turns = 1
        self._timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._pass_turn)

    def release(self) -> None:
        """Give the place to whoever has waited longest."""
        self._timer.cancel()
        self._of_kind.put_back(places=1, turns=self._turns)

    def refuse_waiting(self) -> None:
        """Refuse those that wait for a place of this kind: the database has just failed one that waited as long for it.

        With a place they would wait for the database from the beginning, and be refused after twice the time.
        """
        self._of_kind.refuse_waiting()

    def _pass_turn(self) -> None:
        self._turns = 0
        self._of_kind.put_back(places=0, turns=1)


class PlacesOfKind:
    """The places of one kind, and the turns: a request begins when there are both.

    Whoever waits says how to begin. A place that is released begins the next request at once: in the rounds of a busy
    event loop, one that was only woken up would begin much later, and nobody would use the place meanwhile.
    """

    def __init__(self, place_count: int, turn_count: int) -> None:
        self._places, self._turns = place_count, turn_count
        self._waiting: dict[asyncio.Future[Running | None], Begin] = {}  # in the order in which they came

    def take(self) -> Place | None:
        """Take a place with a turn. Returns None where there is none."""
        return self._take() if self._places and self._turns else None

    async def wait(self, receive: Callable[[], Awaitable[Any]], begin: Begin) -> Running | None:
        """Wait for a place, and return what was started; None where that takes too long or the client has gone."""
        loop = asyncio.get_running_loop()
        started: asyncio.Future[Running | None] = loop.create_future()
        self._waiting[started] = begin
        gone = asyncio.ensure_future(receive())
        gone.add_done_callback(lambda _: _refuse(started))
        too_long = loop.call_later(WAIT_SECONDS, _refuse, started)
        try:
            return await started
        finally:
            self._waiting.pop(started, None)
            too_long.cancel()
            gone.cancel()

    def put_back(self, *, places: int, turns: int) -> None:
        """Put back what a request had taken, and begin those that have waited longest."""
        self._places += places
        self._turns += turns
        while self._waiting and self._places and self._turns:
            started = next(iter(self._waiting))
            begin = self._waiting.pop(started)
            if started.done():
                continue
            try:
                started.set_result(begin(self._take()))
            except RuntimeError as error:  # no thread could be started, and the place was released
                started.set_exception(error)

    def refuse_waiting(self) -> None:
        """Refuse all that wait."""
        for started in self._waiting:
            _refuse(started)
        self._waiting.clear()

    def _take(self) -> Place:
        self._places -= 1
        self._turns -= 1
        return Place(self)


Running = asyncio.Future[list[Message]]
# Begins to answer a request, which releases its place afterwards.
Begin = Callable[[Place], Running]


def _refuse(started: asyncio.Future[Running | None]) -> None:
    if not started.done():
        started.set_result(None)


class Places:
    """The places of one process, for all that does not write. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        counts = {kind: count for kind, count in places().items() if kind != WRITE}
        self._kinds = {kind: PlacesOfKind(count, _TURNS.get(kind, count)) for kind, count in counts.items()}

    async def begin(self, kind: str, receive: Callable[[], Awaitable[Any]], begin: Begin) -> Running | None:
        """Begin to answer a request in a place of its kind, and return the answer to come.

        None where it waited in vain or its client has gone. ``receive`` returns once the client has gone. A search
        waits for no other: its page asks again, and more searches would only make all of them slower.
        """
        of_kind = self._kinds[kind]
        if (place := of_kind.take()) is not None:
            return begin(place)
        return None if kind == SIMILAR else await of_kind.wait(receive, begin)
