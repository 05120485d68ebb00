"""From the datasets of a batch to its watchers: reads the batches that are watched again and again, and sends news.

A change of a dataset of theirs wakes the loop at once. A regular read finds what nobody announced, and who may no
longer see what. However many datasets change, the loop rests four times as long as the last read took.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.template.loader import render_to_string
from django.utils import timezone

from apps.batches.access import visible_batches
from apps.batches.progress import BatchFacts, BatchProgress, batch_progress
from apps.batches.selectors import batch_facts
from apps.core.outages import is_outage
from apps.datasets.access.identities import caller_behind, callers_of
from apps.datasets.access.rules import Caller

from . import rendering
from .reading import read_in
from .rendering import Form, Message
from .watcher import SLOT_BATCH, SLOT_NEW_DATASET, Watcher

logger = logging.getLogger(__name__)

LEAST_SECONDS: Final = 0.1
# How often everything that is watched is read, whether or not a change was announced.
CHECK_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 1.2
REST_FACTOR: Final = 4
RETRY_SECONDS: Final = 1.0

# A batch, and the identity of those who watch it.
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch as somebody sees it now. ``messages``: one for each form that was asked for."""

    facts: BatchFacts
    messages: dict[Form, Message]

    @property
    def display_key(self) -> tuple[object, ...]:
        """Equal keys mean that the messages show the same."""
        return self.facts.epoch, self.facts.version, self.facts.vitals


@dataclass(slots=True)
class _Watched:
    """Those of one identity who watch a batch, and what they were sent last."""

    watchers: dict[Watcher, Callable[[], None]] = field(default_factory=dict)  # with what to call when it is gone
    new_watchers: set[Watcher] = field(default_factory=set)
    members: frozenset[int] = frozenset()
    sent: Reading | None = None


class BatchFeed:
    """The watchers of batches of one event loop. Every method belongs to that loop's thread."""

    def __init__(self) -> None:
        self._watched: dict[Key, _Watched] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")

    @property
    def is_empty(self) -> bool:
        return not self._watched

    def pages(self) -> set[Watcher]:
        """Return the watchers that are open pages."""
        return {watcher for one in self._watched.values() for watcher in one.watchers if watcher.form.is_html}

    def watch(self, batch_pk: int, watcher: Watcher, on_gone: Callable[[], None]) -> None:
        """Send ``watcher`` the state of a batch soon, then every newer one; call ``on_gone`` where it may see none."""
        watched = self._watched.setdefault((batch_pk, watcher.identity), _Watched())
        watched.watchers[watcher] = on_gone
        watched.new_watchers.add(watcher)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="batches")

    def unwatch(self, watcher: Watcher) -> None:
        """Send ``watcher`` nothing more of any batch."""
        for key, watched in list(self._watched.items()):
            if watched.watchers.pop(watcher, None) is not None:
                watched.new_watchers.discard(watcher)
            if not watched.watchers:
                del self._watched[key]

    def on_change(self, dataset_pk: int) -> None:
        """Read soon, if the dataset is in a batch that is watched."""
        if any(dataset_pk in watched.members for watched in self._watched.values()):
            self._wake.set()

    async def _run(self) -> None:
        while self._watched:
            began = time.monotonic()
            self._wake.clear()
            try:
                await self._turn()
            except Exception as error:
                logger.error(
                    "the batches that are watched could not be read; trying again in %g s: %s", RETRY_SECONDS, error,
                    exc_info=not is_outage(error),
                )  # fmt: skip
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
                continue
            rest = max(min(REST_FACTOR * (time.monotonic() - began), LONGEST_SECONDS), LEAST_SECONDS)
            await asyncio.sleep(rest)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(CHECK_SECONDS - rest, 0.0))

    async def _turn(self) -> None:
        """Read everything that is watched, and send what is new."""
        served = {key: set(watched.new_watchers) for key, watched in self._watched.items()}
        forms = {key: frozenset(watcher.form for watcher in watched.watchers) for key, watched in self._watched.items()}
        known = {
            key: watched.sent.display_key for key, watched in self._watched.items() if watched.sent and not served[key]
        }
        readings = await read_in(self._reader, read_batches, forms, known)
        for key in forms:
            watched = self._watched.get(key)
            if watched is None:
                continue
            reading = readings.get(key)
            if reading is None:
                del self._watched[key]
                for on_gone in watched.watchers.values():
                    on_gone()
            else:
                _send(watched, reading, served[key])


def _send(watched: _Watched, reading: Reading, served: set[Watcher]) -> None:
    """Send a reading to those who do not have it. Pages are told to fetch their rows where those are others."""
    before, watched.sent = watched.sent, reading
    watched.members = frozenset(one.dataset_pk for one in reading.facts.members)
    watched.new_watchers -= served
    is_new = before is None or before.display_key != reading.display_key
    others = before is not None and before.facts.epoch != reading.facts.epoch
    for watcher in watched.watchers:
        if (watcher in served or is_new) and watcher.form in reading.messages:
            watcher.send_latest(SLOT_BATCH, reading.messages[watcher.form])
        if others and watcher.form.is_html:
            watcher.send_latest(SLOT_NEW_DATASET, rendering.text_message(rendering.NEW_DATASET))


def read_batches(wanted: dict[Key, frozenset[Form]], known: dict[Key, tuple[object, ...]]) -> dict[Key, Reading]:
    """Read batches as their watchers see them now, each once for all who see the same.

    ``wanted``: the forms that are asked for. ``known``: what is shown already, for which no message is made. A batch
    that does not exist, or of which an identity may see nothing, is left out.
    """
    now = timezone.now()
    callers = callers_of({identity for _, identity in wanted})
    readings: dict[tuple[int, Hashable], BatchFacts | None] = {}
    messages: dict[tuple[int, Hashable, Form], Message] = {}
    found: dict[Key, Reading] = {}
    for key, forms in wanted.items():
        batch_pk, identity = key
        caller = caller_behind(identity, callers)
        if caller is None:
            continue
        view = batch_pk, _scope(caller)
        if view not in readings:
            readings[view] = _facts(caller, batch_pk, now)
        facts = readings[view]
        if facts is None:
            continue
        reading = Reading(facts, {})
        if reading.display_key != known.get(key):
            for form in forms:
                if (*view, form) not in messages:
                    messages[*view, form] = rendering.text_message(encode(batch_progress(facts), form))
                reading.messages[form] = messages[*view, form]
        found[key] = reading
    return found


def _scope(caller: Caller) -> Hashable:
    """Return what is the same for callers who see the same: all staff see everything."""
    return "everything" if caller.has_every_right and caller.token is None else caller.scope


def _facts(caller: Caller, batch_pk: int, now: datetime) -> BatchFacts | None:
    batch = visible_batches(caller).filter(pk=batch_pk).first()
    return batch_facts(caller, batch, now) if batch is not None else None


def encode(progress: BatchProgress, form: Form) -> str:
    """Return the text frame that shows a batch."""
    if form is Form.JSON:
        return f'{{"type":"progress_update","payload":{progress.model_dump_json()}}}'
    return render_to_string("components/live_batch.html", {"progress": progress})


def find_batch(identity: str, batch_id: str) -> int | None:
    """Return the row id of a batch that this identity may see; None where there is none."""
    caller = caller_behind(identity, callers_of([identity]))
    if caller is None:
        return None
    return visible_batches(caller).filter(batch_id=batch_id).values_list("pk", flat=True).first()
