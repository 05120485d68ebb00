"""From a change to every watcher of this process.

The database is the truth; what rings is only a doorbell. A ring names a dataset. At most ten times a second the hub
reads all rung datasets in one query, encodes each form of each once, and hands the same text to every watcher. A
look at the versions of everything watched finds whatever rang elsewhere, or rang and was lost: so a watcher is at
most one look behind the database, whatever happens to the bell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from django.db import connections
from django.utils import timezone

from apps.progress.selectors import facts_of, versions_of
from apps.progress.snapshot import Facts, health_of, snapshot

from .frames import Form, encode

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.25
# After a failed read; the last state is shown as soon as the database answers again.
RETRY_SECONDS: Final = 1.0
# Watchers served before the event loop has its turn.
SLICE: Final = 100


class Watcher(Protocol):
    """Someone who is shown datasets."""

    form: Form

    async def show(self, frame: str) -> None:
        """Send a frame."""

    async def gone(self, dataset_pk: int) -> None:
        """A dataset that was watched is there no more."""


@dataclass(slots=True, eq=False)
class _Watched:
    """A dataset and those who watch it."""

    watchers: set[Watcher] = field(default_factory=set)
    fresh: set[Watcher] = field(default_factory=set)  # those of them who have been shown nothing yet
    facts: Facts | None = None
    health: str | None = None

    @property
    def version(self) -> int:
        return self.facts.version if self.facts else -1


@dataclass(frozen=True, slots=True)
class _News:
    """A dataset as it was just read, with its frames by (form, awake)."""

    facts: Facts
    health: str | None
    frames: dict[tuple[Form, bool], str]


class Hub:
    """The watchers of one event loop. Every method belongs to that loop's thread."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}
        self._rung: set[int] = set()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # One thread, hence one connection, for all that the hub reads and renders.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")

    def watch(self, dataset_pk: int, watcher: Watcher) -> None:
        """Show a dataset to ``watcher`` from now on: its state at the next flush, then every newer one.

        The watcher is registered before anything is read for it, so no change can fall in between.
        """
        watched = self._watched.setdefault(dataset_pk, _Watched())
        watched.watchers.add(watcher)
        watched.fresh.add(watcher)
        self.ring(dataset_pk)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="hub")

    def unwatch(self, dataset_pk: int, watcher: Watcher) -> None:
        """Show a dataset to ``watcher`` no more; nothing where it was not shown."""
        if (watched := self._watched.get(dataset_pk)) is not None:
            watched.watchers.discard(watcher)
            watched.fresh.discard(watcher)
            if not watched.watchers:
                del self._watched[dataset_pk]
                self._bell.set()

    def ring(self, dataset_pk: int) -> None:
        """A dataset has changed, or may have. One that nobody watches is no matter."""
        if dataset_pk in self._watched:
            self._rung.add(dataset_pk)
            self._bell.set()

    async def _run(self) -> None:
        """Look and flush for as long as anyone watches."""
        next_look = 0.0
        while self._watched:
            began = time.monotonic()
            try:
                if began >= next_look:
                    await self._look()
                    next_look = began + LOOK_SECONDS
                if self._rung:
                    await self._flush()
            except Exception:
                logger.exception("the hub could not read; it tries again in %g s", RETRY_SECONDS)
                next_look = 0.0
                await asyncio.sleep(RETRY_SECONDS)
                continue
            # No sooner than a flush after the last one; then at the first ring, or at the next look.
            await asyncio.sleep(max(0.0, began + FLUSH_SECONDS - time.monotonic()))
            if not self._rung:
                self._bell.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._bell.wait(), max(0.0, next_look - time.monotonic()))

    async def _look(self) -> None:
        """Ring for every watched dataset whose version, or health, is no longer what was shown."""
        versions = await self._read(versions_of, list(self._watched))
        now = timezone.now()
        for dataset_pk, watched in self._watched.items():
            run = watched.facts.run if watched.facts else None
            stale = versions.get(dataset_pk, -1) != watched.version
            if stale or (run is not None and health_of(run, now) != watched.health):
                self._rung.add(dataset_pk)

    async def _flush(self) -> None:
        """Show every rung dataset to its watchers, in the state in which one query finds it."""
        rung, self._rung = self._rung, set()
        wanted = {pk: {watcher.form for watcher in self._watched[pk].watchers} for pk in rung if pk in self._watched}
        try:
            news = await self._read(_load, wanted)
        except Exception:
            self._rung |= rung
            raise
        for dataset_pk in wanted:
            watched = self._watched.get(dataset_pk)
            if watched is None:
                continue
            if (new := news.get(dataset_pk)) is None:
                await self._say_gone(dataset_pk, watched)
            else:
                await self._show(watched, new)

    async def _show(self, watched: _Watched, news: _News) -> None:
        if news.facts.version < watched.version:
            return
        changed = news.facts.version > watched.version or news.health != watched.health
        new_run = watched.facts is not None and _run_number(watched.facts) != _run_number(news.facts)
        fresh, watched.fresh = watched.fresh, set()
        watched.facts, watched.health = news.facts, news.health
        for served, watcher in enumerate(list(watched.watchers) if changed else list(fresh)):
            frame = news.frames.get((watcher.form, new_run or watcher in fresh))
            if frame is None:
                # A watcher of a form that nobody read when the frames were made.
                watched.fresh.add(watcher)
                self._rung.add(news.facts.pk)
                continue
            await _safely(watcher.show(frame))
            if served % SLICE == SLICE - 1:
                await asyncio.sleep(0)

    async def _say_gone(self, dataset_pk: int, watched: _Watched) -> None:
        del self._watched[dataset_pk]
        for watcher in watched.watchers:
            await _safely(watcher.gone(dataset_pk))

    async def _read[**P, R](self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        def reading() -> R:
            try:
                return read(*args, **kwargs)
            except Exception:
                connections.close_all()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._reader, reading)


def _run_number(facts: Facts) -> int | None:
    return facts.run.number if facts.run else None


async def _safely(sending: Awaitable[None]) -> None:
    """One watcher that cannot be written to keeps nothing from the others; its own consumer sees it disconnect."""
    try:
        await sending
    except Exception:
        logger.debug("a watcher could not be written to", exc_info=True)


def _load(wanted: Mapping[int, Iterable[Form]]) -> dict[int, _News]:
    """Read the datasets in one query and encode the forms that are wanted of each."""
    now = timezone.now()
    news = {}
    for pk, facts in facts_of(wanted).items():
        progress = snapshot(facts, now)
        frames = {(form, awake): encode(progress, form, awake=awake) for form in wanted[pk] for awake in (False, True)}
        news[pk] = _News(facts, progress.health, frames)
    return news


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def current_hub() -> Hub:
    """The hub of the running event loop: one a web process."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


def ring_everyone(dataset_pk: int) -> None:
    """Ring every hub of this process, from whichever thread."""
    for loop, hub in list(_hubs.items()):
        if not loop.is_closed():
            loop.call_soon_threadsafe(hub.ring, dataset_pk)
