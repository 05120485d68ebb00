"""From a change to every watcher of this process: the loop that reads what changed and hands out the messages.

The database is the truth; a notification is only a doorbell. At most ten times a second, and less often for a crowd,
the hub reads all changed datasets in one query, encodes each form of each once, and hands the same message to every
watcher. A regular check of the versions finds changes that nobody announced, so a watcher is at most one check behind
the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from apps.core.outages import is_outage
from apps.datasets.access.identities import newest_visible, revoked_datasets
from apps.progress.facts import Facts
from apps.progress.selectors import newest_dataset_pk, versions_of
from apps.progress.services import renew_epochs
from apps.progress.signals import Change

from . import rendering
from .batches import BatchFeed
from .known import Known
from .reading import read_in
from .rendering import Rendered
from .slices import Slices
from .subscriptions import Subscriptions
from .watcher import SLOT_KEEPALIVE, SLOT_NEW_DATASET, Watcher

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.1
# A crowd is served less often, so that sending takes a third of the time, and never less often than this.
LONGEST_FLUSH_SECONDS: Final = 0.9
CHECK_SECONDS: Final = 0.25
# While the doorbell is connected, the check only finds what it lost.
HEALING_CHECK_SECONDS: Final = 1.0
# How soon a watcher loses what it may no longer see.
ACCESS_CHECK_SECONDS: Final = 3.0
# How soon a poll is refused what its caller may no longer see, together with the time that the check takes.
POLL_ACCESS_CHECK_SECONDS: Final = 2.0
# The pause after a failed read. The last state is sent as soon as the database answers again.
RETRY_SECONDS: Final = 1.0
# A page that receives nothing for three times as long treats its connection as dead.
KEEPALIVE_SECONDS: Final = 5.0
# Without a check for this long no keepalive is sent, because what the pages show may be old.
MAX_CHECK_AGE_SECONDS: Final = 5.0


class Hub:
    """The watchers of one event loop. Every method belongs to that loop's thread."""

    def __init__(self) -> None:
        self.subscriptions = Subscriptions()
        self.known = Known()
        self.batches = BatchFeed()
        self._after_flush: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._next_check_at = 0.0  # of the monotonic clock, like the next
        self._last_check_at = 0.0
        self._newest_pk = 0  # for which every list was looked at
        self._is_bell_connected = False
        self._failing: set[int] = set()  # row ids of the datasets that cannot be encoded
        self._task: asyncio.Task[None] | None = None
        # One thread, hence one database connection, for everything that the hub reads and renders.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")
        # Another, so that a slow access check holds up nothing.
        self._access_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub-access")

    def watch(self, dataset_pk: int, watcher: Watcher) -> None:
        """Send ``watcher`` the state of a dataset at the next flush, then every newer one.

        The watcher is registered before anything is read for it, so it misses no change.
        """
        self.subscriptions.add(dataset_pk, watcher)
        self._wake.set()
        self._start()

    def send_known(self, dataset_pk: int, watcher: Watcher) -> bool:
        """Send a new watcher what the others show, ahead of the next flush. Returns False where there are no others.

        A crowd that comes at once is served at the pace of its handshakes then, and not at that of the flushes.
        """
        message = self.subscriptions.message_sent_last(dataset_pk, watcher.form)
        if message is not None:
            watcher.send_latest(dataset_pk, message)
        return message is not None

    def after_flush(self, call: Callable[[], None]) -> None:
        """Call ``call`` once whoever watches now has been sent something."""
        self._after_flush.append(call)

    def unwatch(self, dataset_pk: int, watcher: Watcher) -> None:
        """Send ``watcher`` nothing more of a dataset."""
        if self.subscriptions.remove(dataset_pk, watcher):
            self._wake.set()

    def watch_list(self, watcher: Watcher, newest: str) -> None:
        """Tell ``watcher`` when there is a newer dataset than ``newest`` that it may see.

        It is sent a keepalive at once: a list without rows receives nothing else.
        """
        self.subscriptions.add_list(watcher, newest)
        watcher.send_latest(SLOT_KEEPALIVE, rendering.text_message(rendering.keepalive()))
        self._start()

    def remove_watcher(self, watcher: Watcher, dataset_pks: Collection[int]) -> None:
        """Remove a watcher of these datasets, and perhaps of the list."""
        for dataset_pk in dataset_pks:
            self.unwatch(dataset_pk, watcher)
        self.subscriptions.remove_list(watcher)
        self.batches.unwatch(watcher)

    def watch_batch(self, batch_pk: int, watcher: Watcher, on_gone: Callable[[], None]) -> None:
        """Send ``watcher`` the state of a batch soon, then every newer one; call ``on_gone`` where it may see none."""
        self.batches.watch(batch_pk, watcher, on_gone)
        self._start()

    def note_poll(self, identity: str, facts: Facts, asked_at: float) -> None:
        """Keep what a view has read for a poll as fresh as what is watched, for as long as somebody polls."""
        self.known.note(identity, facts, asked_at)
        self._start()

    def notify(self, change: Change) -> None:
        """Flush a changed dataset soon, if anyone watches it and was not sent this version."""
        self.known.on_change(change.dataset_pk, change.version)
        self.batches.on_change(change.dataset_pk)
        if self.subscriptions.mark_changed(change.dataset_pk, change.version):
            self._wake.set()

    def _on_bell(self, is_connected: bool) -> None:
        """Check less often while the doorbell is connected, and once at each such change: rings may be lost."""
        self._is_bell_connected = is_connected
        self._next_check_at = 0.0
        self._wake.set()

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="hub")

    @property
    def _is_idle(self) -> bool:
        return self.subscriptions.is_empty and self.known.is_empty and self.batches.is_empty

    async def _run(self) -> None:
        """Serve while anyone watches or polls. One may come while `_serve` is ending its tasks, so this is a loop."""
        while not self._is_idle:
            try:
                await self._serve()
            except Exception:
                logger.exception("the hub failed and restarts in %g s", RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self) -> None:
        """Check and flush until nobody watches or polls, with the other tasks in the background."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._check_access(), name="hub: access"),
                tasks.create_task(self._check_access_of_polls(), name="hub: access of polls"),
                tasks.create_task(self._send_keepalives(), name="hub: keepalive"),
            ]
            if settings.REDIS_URL:
                from . import doorbell  # only with Redis: its client takes long to import

                listening = doorbell.listen(settings.REDIS_URL, self.notify, self._on_bell)
                background.append(tasks.create_task(listening, name="hub: doorbell"))
            while not self._is_idle:
                await self._turn()
            for task in background:
                task.cancel()

    async def _turn(self) -> None:
        """Check the versions if it is time, flush if anything is pending, and wait for the next occasion."""
        began = time.monotonic()
        sending_seconds = 0.0
        try:
            is_check_due = began >= self._next_check_at
            if is_check_due:
                # A poll that comes later than a page's socket may not be behind by more than a check.
                may_wait = self._is_bell_connected and self.known.is_empty
                interval = HEALING_CHECK_SECONDS if may_wait else CHECK_SECONDS
                self._next_check_at = began + interval
                await self._check_versions()
            if self.subscriptions.pending:
                sending_seconds = await self._flush()
            if is_check_due:
                self._last_check_at = time.monotonic()
        except Exception as error:
            # An outage is no fault of the program: its line is enough.
            logger.error(
                "the hub could not read the database and tries again in %g s: %s", RETRY_SECONDS, error,
                exc_info=not is_outage(error),
            )  # fmt: skip
            self._next_check_at = 0.0
            await asyncio.sleep(RETRY_SECONDS)
            return
        # Wait until the next flush is allowed, then for the first change or the next check.
        await asyncio.sleep(max(0.0, began + flush_interval(sending_seconds) - time.monotonic()))
        if not self.subscriptions.pending:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, self._next_check_at - time.monotonic()))

    async def _check_versions(self) -> None:
        """Mark every dataset that differs from what was sent, and tell the lists of a new dataset."""
        asked_at = time.monotonic()
        versions = await read_in(self._reader, versions_of, self.subscriptions.datasets.keys() | self.known.dataset_pks)
        self.subscriptions.mark_outdated(versions, timezone.now())
        self.known.confirm_states(versions, asked_at)
        if not self.subscriptions.lists:
            return
        newest_pk = await read_in(self._reader, newest_dataset_pk)
        lists = self.subscriptions.new_lists if newest_pk == self._newest_pk else self.subscriptions.lists
        if not lists:
            return
        # Each is told of what it may see: the time at which a private dataset is created is private too.
        newest = await read_in(self._reader, newest_visible, {watcher.identity for watcher in lists})
        self._newest_pk = newest_pk
        comment = rendering.watchers_comment(len(self.subscriptions.lists))
        message = rendering.text_message(rendering.NEW_DATASET + comment)
        for watcher in self.subscriptions.take_outdated_lists(newest):
            watcher.send_latest(SLOT_NEW_DATASET, message)

    async def _flush(self) -> float:
        """Send every pending dataset to its watchers, in the state in which one query finds it.

        Returns for how long it was sending, in seconds.
        """
        requests = self.subscriptions.take_pending()
        calls, self._after_flush = self._after_flush, []
        asked_at = time.monotonic()
        try:
            rendered = await read_in(self._reader, rendering.render, requests)
            if gone_back := self.subscriptions.gone_back(rendered):
                self._after_flush += calls
                # Watchers drop what is older. Of another epoch, the next flush sends them the same.
                self.subscriptions.pending.update(requests)
                if await read_in(self._reader, renew_epochs, gone_back):
                    logger.warning("the database has gone back to an earlier state: datasets have a new epoch")
                return 0.0
        except Exception:
            self.subscriptions.pending.update(requests)
            self._after_flush += calls
            raise
        began = time.monotonic()
        slices = Slices()
        for dataset_pk in requests:
            if dataset_pk not in self.subscriptions.datasets:
                continue
            if dataset_pk not in rendered:
                self.known.forget(dataset_pk)
                for watcher in self.subscriptions.drop_dataset(dataset_pk):
                    watcher.drop_dataset(dataset_pk)
            elif (one := rendered[dataset_pk]) is not None:
                self.known.note_read(one.state.facts, asked_at)
                self._failing.discard(dataset_pk)
                await self._send(dataset_pk, one, slices)
            elif dataset_pk not in self._failing:
                self._failing.add(dataset_pk)
                logger.error("dataset %s cannot be shown; every check tries again", dataset_pk)
        for call in calls:
            call()
        return time.monotonic() - began

    async def _send(self, dataset_pk: int, rendered: Rendered, slices: Slices) -> None:
        """Hand out the messages of a dataset, within the ``slices`` of a flush."""
        watched = self.subscriptions.datasets[dataset_pk]
        for watcher, message in self.subscriptions.record(dataset_pk, rendered):
            if watcher in watched.watchers:  # it may have left in the meantime
                watcher.send_latest(dataset_pk, message)
            await slices.pause()

    async def _check_access(self) -> None:
        """Take from watchers what they may no longer see."""
        while True:
            await asyncio.sleep(ACCESS_CHECK_SECONDS)
            watching = self.subscriptions.dataset_pks_by_identity()
            try:
                revoked = await read_in(self._access_reader, revoked_datasets, watching)
            except Exception as error:
                logger.error(
                    "the access of watchers could not be checked; the next check tries again: %s", error,
                    exc_info=not is_outage(error),
                )  # fmt: skip
                continue
            for identity, dataset_pks in revoked.items():
                for dataset_pk, watcher in self.subscriptions.of_identity(identity, dataset_pks):
                    self.unwatch(dataset_pk, watcher)
                    watcher.drop_dataset(dataset_pk)

    async def _check_access_of_polls(self) -> None:
        """Ask anew who may see what is polled. A right that cannot be confirmed runs out by itself."""
        while True:
            await asyncio.sleep(POLL_ACCESS_CHECK_SECONDS)
            asked, asked_at = self.known.take_rights(), time.monotonic()
            with suppress(DatabaseError, InterfaceError):
                revoked = await read_in(self._access_reader, revoked_datasets, asked)
                self.known.confirm_rights(asked, revoked, asked_at)

    async def _send_keepalives(self) -> None:
        """Show pages that the connection is alive: a half-open one fires no close event for many minutes."""
        while True:
            await asyncio.sleep(KEEPALIVE_SECONDS)
            if time.monotonic() - self._last_check_at > MAX_CHECK_AGE_SECONDS:
                continue
            message = rendering.text_message(rendering.keepalive())
            slices = Slices()
            for watcher in self.subscriptions.pages() | self.batches.pages():
                watcher.send_latest(SLOT_KEEPALIVE, message)
                await slices.pause()


def flush_interval(sending_seconds: float) -> float:
    """Return how long after a flush began the next may begin, in seconds, where it was sending for so long."""
    return min(max(FLUSH_SECONDS, 3 * sending_seconds), LONGEST_FLUSH_SECONDS)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def current_hub() -> Hub:
    """Return the hub of the running event loop. A web process has one."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


def notify_hubs(change: Change) -> None:
    """Notify every hub of this process, from any thread."""
    for loop, hub in list(_hubs.items()):
        if not loop.is_closed():
            loop.call_soon_threadsafe(hub.notify, change)
