"""From a change to every watcher of this process.

The database is the truth; what rings is only a doorbell. A ring names a dataset. At most ten times a second the hub
reads all rung datasets in one query, encodes each form of each once, and hands the same message to every watcher. A
look at the versions of everything watched finds whatever rang elsewhere, or rang and was lost: so a watcher is at
most one look behind the database, whatever happens to the bell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import connections
from django.utils import timezone

from apps.datasets.access.identities import lost
from apps.progress.selectors import facts_of, newest_dataset, versions_of
from apps.progress.signals import Change
from apps.progress.snapshot import Facts, health_of, snapshot

from . import rendering
from .rendering import Form
from .watcher import KEEPALIVE, NEW_ROWS, Watcher

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 0.25
# Where the bell of other processes is heard, a look only finds what it lost.
HEALING_LOOK_SECONDS: Final = 1.5
# How soon a watcher loses what it may no longer see.
ACCESS_SECONDS: Final = 3.0
# After a failed read; the last state is shown as soon as the database answers again.
RETRY_SECONDS: Final = 1.0
# A page that has heard nothing for three times as long takes its connection for dead.
KEEPALIVE_SECONDS: Final = 5.0
# Watchers served before the event loop has its turn.
SLICE: Final = 20

# Nobody is told that the line is open by a hub that has not looked for so long: what it shows may be old.
OLDEST_LOOK_SECONDS: Final = 5.0


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

    def wanted(self) -> _Wanted:
        return _Wanted(
            forms=frozenset(watcher.form for watcher in self.watchers),
            fresh_forms=frozenset(watcher.form for watcher in self.fresh),
            shown=(self.version, self.health) if self.facts else None,
            run=_run_number(self.facts) if self.facts else None,
            watchers=len(self.watchers),
        )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a flush has to encode of a dataset: for those to whom ``shown`` (version, health) is known, and others."""

    forms: frozenset[Form]
    fresh_forms: frozenset[Form]
    shown: tuple[int, str | None] | None
    run: int | None
    watchers: int


@dataclass(frozen=True, slots=True)
class _News:
    """A dataset as it was just read, with the messages for those who were shown it before, and for the others."""

    facts: Facts
    health: str | None
    messages: dict[Form, dict[str, Any]]
    fresh_messages: dict[Form, dict[str, Any]]


class Hub:
    """The watchers of one event loop. Every method belongs to that loop's thread."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}
        self._lists: dict[Watcher, str] = {}  # with the newest dataset that each knows of
        self._rung: set[int] = set()
        self._bell = asyncio.Event()
        self._next_look = 0.0
        self._looked = 0.0
        self._unspeakable: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        # One thread, hence one connection, for all that the hub reads and renders.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")
        # Another, so that asking who may still see what holds up nothing.
        self._guard = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub-access")
        self._hears_others = False

    def watch(self, dataset_pk: int, watcher: Watcher) -> None:
        """Show a dataset to ``watcher`` from now on: its state at the next flush, then every newer one.

        The watcher is registered before anything is read for it, so no change can fall in between.
        """
        watched = self._watched.setdefault(dataset_pk, _Watched())
        watched.watchers.add(watcher)
        watched.fresh.add(watcher)
        self._ring(dataset_pk)
        self._start()

    def watch_list(self, watcher: Watcher, newest: str) -> None:
        """Tell ``watcher`` when there is a newer dataset than ``newest``, which it may or may not see; and at once that
        the line is open, also where it has no row to be shown.
        """
        self._lists[watcher] = newest
        watcher.show(KEEPALIVE, rendering.message(rendering.KEEPALIVE))
        self._start()

    def unwatch_list(self, watcher: Watcher) -> None:
        self._lists.pop(watcher, None)

    def _start(self) -> None:
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

    def ring(self, change: Change) -> None:
        """A dataset has changed. One that nobody watches is no matter, nor is a version that was shown."""
        watched = self._watched.get(change.dataset_pk)
        if watched is not None and watched.version < change.version:
            self._ring(change.dataset_pk)

    def _ring(self, dataset_pk: int) -> None:
        self._rung.add(dataset_pk)
        self._bell.set()

    def _hears(self, others: bool) -> None:
        """Whether the bell of other processes is heard from now on. A look tells what was missed until then."""
        self._hears_others = others
        self._next_look = 0.0
        self._bell.set()

    async def _run(self) -> None:
        """Serve for as long as anyone watches, also whoever comes while what went on aside is being ended."""
        while self._watched or self._lists:
            try:
                await self._serve()
            except Exception:
                logger.exception("the hub has failed; it begins again in %g s", RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self) -> None:
        """Look and flush until nobody watches."""
        async with asyncio.TaskGroup() as tasks:
            aside = [
                tasks.create_task(self._watch_access(), name="hub: access"),
                tasks.create_task(self._keep_alive(), name="hub: keepalive"),
            ]
            if settings.REDIS_URL:
                from . import doorbell

                listening = doorbell.listen(settings.REDIS_URL, self.ring, self._hears)
                aside.append(tasks.create_task(listening, name="hub: doorbell"))
            while self._watched or self._lists:
                await self._turn()
            for task in aside:
                task.cancel()

    async def _turn(self) -> None:
        """Look if it is time, flush if there is anything, and wait for the next occasion."""
        began = time.monotonic()
        try:
            is_due = began >= self._next_look
            if is_due:
                self._next_look = began + (HEALING_LOOK_SECONDS if self._hears_others else LOOK_SECONDS)
                await self._look()
            if self._rung:
                await self._flush()
            if is_due:
                self._looked = time.monotonic()
        except Exception:
            logger.exception("the hub could not read; it tries again in %g s", RETRY_SECONDS)
            self._next_look = 0.0
            await asyncio.sleep(RETRY_SECONDS)
            return
        # No sooner than a flush after the last one; then at the first ring, or at the next look.
        await asyncio.sleep(max(0.0, began + FLUSH_SECONDS - time.monotonic()))
        if not self._rung:
            self._bell.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), max(0.0, self._next_look - time.monotonic()))

    async def _look(self) -> None:
        """Ring for every watched dataset whose version, or health, is no longer what was shown."""
        versions = await self._read(self._reader, versions_of, list(self._watched))
        now = timezone.now()
        for dataset_pk, watched in self._watched.items():
            run = watched.facts.run if watched.facts else None
            stale = versions.get(dataset_pk, -1) != watched.version
            if stale or (run is not None and health_of(run, now) != watched.health):
                self._rung.add(dataset_pk)
        if self._lists:
            newest = await self._read(self._reader, newest_dataset)
            message = rendering.message(rendering.NEW_DATASET + rendering.watched_by(len(self._lists)))
            for watcher, known in list(self._lists.items()):
                if known != newest:
                    self._lists[watcher] = newest
                    watcher.show(NEW_ROWS, message)

    async def _flush(self) -> None:
        """Show every rung dataset to its watchers, in the state in which one query finds it."""
        rung, self._rung = self._rung, set()
        wanted = {pk: self._watched[pk].wanted() for pk in rung if pk in self._watched}
        try:
            news = await self._read(self._reader, _load, wanted)
        except Exception:
            self._rung |= rung
            raise
        served = 0
        for dataset_pk in wanted:
            watched = self._watched.get(dataset_pk)
            if watched is None:
                continue
            if dataset_pk not in news:
                self._say_gone(dataset_pk, watched)
            elif (new := news[dataset_pk]) is not None:
                self._unspeakable.discard(dataset_pk)
                served = await self._show(watched, new, served)
            elif dataset_pk not in self._unspeakable:
                self._unspeakable.add(dataset_pk)
                logger.error("dataset %s cannot be shown; it is tried again with every look", dataset_pk)

    async def _show(self, watched: _Watched, news: _News, served: int) -> int:
        """Hand out the messages of a dataset. ``served`` counts those of this flush, and comes back counted on."""
        changed = news.facts.version != watched.version or news.health != watched.health
        fresh, watched.fresh = watched.fresh, set()
        watched.facts, watched.health = news.facts, news.health
        for watcher in list(watched.watchers) if changed else list(fresh):
            message = (news.fresh_messages if watcher in fresh else news.messages).get(watcher.form)
            if message is None:
                # It came after the messages were made, and reads what nobody did then.
                watched.fresh.add(watcher)
                self._ring(news.facts.pk)
                continue
            if watcher in watched.watchers:
                watcher.show(news.facts.pk, message)
            served += 1
            if served % SLICE == 0:
                await asyncio.sleep(0)
        return served

    def _say_gone(self, dataset_pk: int, watched: _Watched) -> None:
        del self._watched[dataset_pk]
        for watcher in watched.watchers:
            watcher.gone(dataset_pk)

    async def _watch_access(self) -> None:
        """Take from watchers what they may no longer see."""
        while True:
            await asyncio.sleep(ACCESS_SECONDS)
            watching: dict[str, set[int]] = {}
            for dataset_pk, watched in self._watched.items():
                for watcher in watched.watchers:
                    watching.setdefault(watcher.identity, set()).add(dataset_pk)
            try:
                taken = await self._read(self._guard, lost, watching)
            except Exception:
                logger.exception("who may still see what could not be read; it is tried again")
                continue
            for identity, dataset_pks in taken.items():
                for dataset_pk in dataset_pks & self._watched.keys():
                    for watcher in list(self._watched[dataset_pk].watchers):
                        if watcher.identity == identity:
                            self.unwatch(dataset_pk, watcher)
                            watcher.gone(dataset_pk)

    async def _keep_alive(self) -> None:
        """Let pages know that the line is open: of a broken one a browser hears nothing for many minutes."""
        message = rendering.message(rendering.KEEPALIVE)
        while True:
            await asyncio.sleep(KEEPALIVE_SECONDS)
            if time.monotonic() - self._looked > OLDEST_LOOK_SECONDS:
                continue
            shown = {w for watched in self._watched.values() for w in watched.watchers if w.form.is_html}
            pages = shown | self._lists.keys()
            for served, watcher in enumerate(pages):
                watcher.show(KEEPALIVE, message)
                if served % SLICE == SLICE - 1:
                    await asyncio.sleep(0)

    async def _read[**P, R](
        self, executor: ThreadPoolExecutor, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        def reading() -> R:
            try:
                return read(*args, **kwargs)
            except Exception:
                connections.close_all()
                raise

        return await asyncio.get_running_loop().run_in_executor(executor, reading)


def _run_number(facts: Facts) -> int | None:
    return facts.run.number if facts.run else None


def _load(wanted: Mapping[int, _Wanted]) -> dict[int, _News | None]:
    """Read the datasets in one query and encode what is wanted of each: nothing where it was shown already.

    None stands for one that is there and cannot be encoded, whatever the matter is with it: the others are shown.
    """
    now = timezone.now()
    news: dict[int, _News | None] = {}
    for pk, facts in facts_of(wanted).items():
        try:
            news[pk] = _encode(facts, wanted[pk], now)
        except Exception:
            logger.debug("dataset %s cannot be encoded", pk, exc_info=True)
            news[pk] = None
    return news


def _encode(facts: Facts, want: _Wanted, now: datetime) -> _News:
    """A dataset as it was read, in the forms that are wanted."""
    progress = snapshot(facts, now)

    @cache
    def message(form: Form, awake: bool) -> dict[str, Any]:
        return rendering.message(rendering.encode(progress, form, awake=awake, watchers=want.watchers))

    has_changed = want.shown is not None and want.shown != (facts.version, progress.health)
    is_new_run = want.run != _run_number(facts)
    return _News(
        facts,
        progress.health,
        {form: message(form, form.has_header and is_new_run) for form in want.forms if has_changed},
        {form: message(form, form.has_header) for form in want.fresh_forms},
    )


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def current_hub() -> Hub:
    """The hub of the running event loop: one a web process."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


def ring_everyone(change: Change) -> None:
    """Ring every hub of this process, from whichever thread."""
    for loop, hub in list(_hubs.items()):
        if not loop.is_closed():
            loop.call_soon_threadsafe(hub.ring, change)
