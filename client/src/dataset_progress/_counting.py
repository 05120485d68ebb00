"""What this process has counted of a run. The job writes it, and the sender's thread reads it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from . import _values as values
from ._exits import TerminationSafeLock

# Failed items that wait to be reported. Further ones are counted, but not listed.
MAX_WAITING_FAILURES = 1000


class Counter(Protocol):
    """Something that counts, and is read from another thread."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int | None: ...


class LoopCounter:
    """The counter of one loop. Only that loop writes to it, so it needs no lock."""

    __slots__ = ("done", "total")

    def __init__(self, total: int | None = None) -> None:
        self.done = 0
        self.total = total


class ThreadCounter(LoopCounter):
    """The counter of one thread that calls `Run.advance`."""

    __slots__ = ("thread",)

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.current_thread()


@dataclass
class Share:
    """What this process has done of one stage: ``base``, and what its counters have counted.

    ``owners``: the threads and tasks whose loop is being counted. ``failures``: (item, reason), not yet reported.
    """

    base: int = 0
    base_total: int | None = None
    counters: list[Counter] = field(default_factory=list)
    owners: set[object] = field(default_factory=set)
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.base + sum(values.count(counter.done) for counter in self.counters)

    @property
    def total(self) -> int | None:
        """The number of items; None if unknown."""
        totals = [values.count(total) for counter in self.counters if (total := counter.total) is not None]
        if self.base_total is None and not totals:
            return None
        return max(0, (self.base_total or 0) + sum(totals))

    def set(self, done: int | None, total: int | None) -> None:
        """Set how much is done, and of how much, whatever the counters say."""
        if done is not None:
            self.base += values.count(done) - self.done
        if total is not None:
            self.base_total = (self.base_total or 0) + values.count(total) - (self.total or 0)  # may be negative

    def retire(self, counter: Counter) -> None:
        """Remove a counter and keep what it has counted."""
        if counter in self.counters:
            self.counters.remove(counter)
            self.base += values.count(counter.done)
            if counter.total is not None:
                self.base_total = (self.base_total or 0) + values.count(counter.total)

    def retire_ended_threads(self) -> None:
        for counter in [each for each in self.counters if isinstance(each, ThreadCounter)]:
            if not counter.thread.is_alive():
                self.retire(counter)

    def fail(self, item: object, reason: object) -> None:
        self.failed += 1
        if len(self.failures) < MAX_WAITING_FAILURES:
            self.failures.append((values.item(item), values.text(reason, 500)))


class Counts:
    """What this process has counted, by stage.

    ``stage``: the name of the stage under way. ``by_thread.counters``: the counters of this thread, by stage. All
    methods may be called from any thread. ``lock`` is held by whoever reads or changes ``shares``.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.reset()

    def reset(self) -> None:
        """Start at zero, as a forked process does, with a lock that nobody holds."""
        self.lock = TerminationSafeLock()
        self.message = ""
        self.shares: dict[str, Share] = {}
        self.by_thread = threading.local()

    def begin_stage(self, stage: str, total: int | None) -> None:
        with self.lock:
            self.stage = stage
            self._share(stage).set(None, total)

    def set(self, done: int | None, total: int | None, message: str | None) -> None:
        with self.lock:
            self._share(self.stage).set(done, total)
            if message is not None:
                self.message = values.text(message, 1000)

    def fail_item(self, item: object, reason: object) -> None:
        with self.lock:
            self._share(self.stage).fail(item, reason)

    def add_thread(self) -> ThreadCounter:
        """Return a counter for this thread in the stage under way."""
        if not hasattr(self.by_thread, "counters"):
            self.by_thread.counters = {}
        counter = ThreadCounter()
        with self.lock:
            stage = self.stage
            share = self._share(stage)
            share.retire_ended_threads()
            share.counters.append(counter)
        self.by_thread.counters[stage] = counter
        return counter

    def add(self, stage: str, counter: Counter, owner: object) -> bool:
        """Go on to ``stage`` and count what ``counter`` counts, until `remove`.

        Does nothing and returns False if ``owner`` is in another loop of that stage, which then counts for both.
        """
        with self.lock:
            share = self._share(stage)
            if owner in share.owners:
                return False
            share.owners.add(owner)
            share.counters.append(counter)
            self.stage = stage
            return True

    def remove(self, stage: str, counter: Counter, owner: object) -> None:
        """Undo `add`, but keep what was counted. Repeating it is harmless."""
        with self.lock:
            share = self._share(stage)
            if counter in share.counters:
                share.owners.discard(owner)
                share.retire(counter)

    def is_complete(self) -> bool:
        """Whether all items of the stage under way are done, as far as their number is known."""
        with self.lock:
            share = self._share(self.stage)
            return share.total is None or share.done >= share.total

    def describe(self) -> str:
        """Say how much is done of the stage under way: ``4 of 10``."""
        with self.lock:
            share = self._share(self.stage)
            return f"{share.done:,} of {share.total:,}" if share.total else f"{share.done:,}"

    def _share(self, stage: str) -> Share:
        return self.shares.setdefault(stage, Share())
