"""What this process has counted of a run. The job writes it, and the sender's thread reads it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from . import _values as values
from ._exits import TerminationSafeLock
from ._stages import MAX_STAGES

# The stage of everything that comes after as many stages as a run may have.
OTHER = "Other"
# Fractions are counted in hundredths.
FRACTION_SCALE = 100
# Failed items that wait to be reported. Further ones are counted, but not listed.
MAX_WAITING_FAILURES = 1000


class Words(NamedTuple):
    """What a counter says beside its numbers; "" where it says nothing.

    ``label``: the stage, as it is shown. ``unit``: what is counted. ``message``: a line for people.
    """

    label: str = ""
    unit: str = ""
    message: str = ""


class Counter(Protocol):
    """Something that counts, and is read from another thread."""

    in_hand: int  # 1 for a loop, which has been given one item more than it has done; 0 for what is counted by hand

    @property
    def done(self) -> float: ...
    @property
    def total(self) -> float | None: ...
    @property
    def is_fractional(self) -> bool: ...
    @property
    def words(self) -> Words: ...


class LoopCounter:
    """The counter of one loop. Only that loop writes to it, so it needs no lock."""

    __slots__ = ("done", "in_hand", "total")
    is_fractional = False
    words = Words()

    def __init__(self, total: int | None = None) -> None:
        self.done = 0
        self.total = total
        self.in_hand = 0


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
    ``in_hand``: the items that loops were given last before they were left. They are done, unless an exception was why.
    ``scale``: what the numbers of the counters are multiplied by; more than 1 once one of them was a fraction.
    """

    base: int = 0
    base_total: int | None = None
    counters: list[Counter] = field(default_factory=list)
    owners: set[object] = field(default_factory=set)
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    in_hand: int = 0
    scale: int = 1
    words: Words = field(default_factory=Words)

    @property
    def done(self) -> int:
        return self.base + sum(values.count(counter.done, self.scale) for counter in self.counters)

    @property
    def total(self) -> int | None:
        """The number of items; None if unknown."""
        totals = [values.count(total, self.scale) for counter in self.counters if (total := counter.total) is not None]
        if self.base_total is None and not totals:
            return None
        return max(0, (self.base_total or 0) + sum(totals))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the stage."""
        return not (self.counters or self.base or self.base_total or self.failed)

    def set(self, done: int | None, total: int | None) -> None:
        """Set how much is done, and of how much, whatever the counters say."""
        if done is not None:
            self.base += values.count(done, self.scale) - self.done
        if total is not None:  # the difference may be negative
            self.base_total = (self.base_total or 0) + values.count(total, self.scale) - (self.total or 0)

    def read(self) -> None:
        """Take from the counters what is more than a number: whether they count fractions, and their words."""
        if self.scale == 1 and any(counter.is_fractional for counter in self.counters):
            self.scale = FRACTION_SCALE
            self.base *= self.scale
            self.base_total = self.base_total and self.base_total * self.scale
        for counter in self.counters:
            self.words = Words(*(new or old for new, old in zip(counter.words, self.words, strict=True)))

    def describe(self) -> dict[str, str]:
        """Return the label and the unit of the stage in the form of the API, as far as its counters say them."""
        unit = f"hundredths of {self.words.unit or 'items'}" if self.scale > 1 else self.words.unit
        described = {"label": values.name(self.words.label, 100, ""), "unit": values.name(unit, 32, "")}
        return {field: text for field, text in described.items() if text}

    def settle(self, *, is_done: bool) -> None:
        """Count the items that were in hand, if they are done."""
        if is_done:
            self.base += self.in_hand * self.scale
        self.in_hand = 0

    def retire(self, counter: Counter) -> None:
        """Remove a counter and keep what it has counted."""
        if counter in self.counters:
            self.read()
            self.counters.remove(counter)
            self.base += values.count(counter.done, self.scale)
            if counter.total is not None:
                self.base_total = (self.base_total or 0) + values.count(counter.total, self.scale)

    def drop(self, counter: Counter) -> None:
        """Remove a counter and what it has counted, also if it was retired."""
        self.retire(counter)
        self.base -= values.count(counter.done, self.scale)
        if counter.total is not None:
            self.base_total = (self.base_total or 0) - values.count(counter.total, self.scale)
        self.in_hand = 0

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
    methods may be called from any thread. ``lock`` is held by whoever reads or changes ``shares``. ``planned``: the
    names of the stages that the run begins with. ``held``: the loops that may turn out to be parts of one in another
    process; None if all are counted. ``has_dropped``: whether some have turned out to be.
    """

    def __init__(self, stage: str, planned: Iterable[str] = ()) -> None:
        self._names = set(planned)
        self.stage = stage
        self.reset()

    def reset(self) -> None:
        """Start at zero, as a forked process does, with a lock that nobody holds."""
        self.lock = TerminationSafeLock()
        self.message = self.last_message = ""
        self.was_left = False  # whether the last loop was left before its end
        self.shares: dict[str, Share] = {}
        self.by_thread = threading.local()
        self.held: list[tuple[str, Counter]] | None = None
        self.has_dropped = False

    def begin_stage(self, stage: str, total: int | None) -> None:
        with self.lock:
            self.stage = self._admit(stage)
            self._share(self.stage).set(None, total)

    def set(self, done: int | None, total: int | None, message: str | None) -> None:
        with self.lock:
            self._current_share().set(done, total)
            if message is not None:
                self.message = values.text(message, 1000)

    def end_if_empty(self, message: str) -> None:
        """Let the run end with ``message``, if nothing has been counted and nothing said."""
        with self.lock:
            if not (self.shares or self.message or self.has_dropped):
                self.last_message = message

    def fail_item(self, item: object, reason: object) -> None:
        with self.lock:
            self._current_share().fail(item, reason)

    def add_thread(self) -> ThreadCounter:
        """Return a counter for this thread in the stage under way."""
        if not hasattr(self.by_thread, "counters"):
            self.by_thread.counters = {}
        counter = ThreadCounter()
        with self.lock:
            share = self._current_share()
            stage = self.stage
            share.retire_ended_threads()
            share.counters.append(counter)
        self.by_thread.counters[stage] = counter
        return counter

    def add(self, stage: str, counter: Counter, owner: object) -> bool:
        """Go on to ``stage`` and count what ``counter`` counts, until `remove`.

        Does nothing and returns False if ``owner`` is in another loop of that stage, which then counts for both.
        """
        with self.lock:
            stage = self._admit(stage)
            share = self._share(stage)
            if owner in share.owners:
                return False
            self.settle(is_done=True)
            self.was_left = False
            share.owners.add(owner)
            share.counters.append(counter)
            if self.held is not None:
                self.held.append((stage, counter))
            self.stage = stage
            return True

    def remove(self, stage: str, counter: Counter, owner: object, *, was_left: bool = False) -> None:
        """Undo `add`, but keep what was counted. Repeating it is harmless.

        ``was_left``: whether the loop ended before its items did.
        """
        with self.lock:
            share = self.shares.get(self._admit(stage))
            if share is not None and counter in share.counters:
                share.owners.discard(owner)
                share.retire(counter)
                if was_left:
                    share.in_hand += counter.in_hand
                    self.was_left = True

    def drop_held(self) -> None:
        """Take back what the loops have counted that are held, and count them no further."""
        with self.lock:
            for stage, counter in self.held or ():
                self.shares[stage].drop(counter)
            self.shares = {stage: share for stage, share in self.shares.items() if not share.is_empty}
            self.held = None
            self.was_left = False
            self.has_dropped = True

    def leave_all(self) -> None:
        """Treat the loops that are still open as left, as the end of the program does."""
        with self.lock:
            for share in self.shares.values():
                share.in_hand += sum(counter.in_hand for counter in share.counters)
            self.was_left = True

    def settle(self, *, is_done: bool) -> None:
        """Count the items that loops were given last before they were left, if they are done."""
        with self.lock:
            for share in self.shares.values():
                share.settle(is_done=is_done)

    def read_message(self) -> str:
        """Return what the job has said last, else what the bar of the stage under way says."""
        with self.lock:
            share = self.shares.get(self.stage)
            return self.message or ("" if share is None else share.words.message)

    def is_complete(self) -> bool:
        """Whether all items of the stage under way are done, as far as their number is known."""
        with self.lock:
            share = self.shares.get(self.stage) or Share()
            return share.total is None or share.done + share.in_hand * share.scale >= share.total

    def counted(self) -> int:
        """Return how much is done of all stages."""
        with self.lock:
            return sum(share.done for share in self.shares.values())

    def describe(self) -> str:
        """Say how much is done of the stage under way: ``4 of 10``."""
        with self.lock:
            share = self.shares.get(self.stage) or Share()
            done, total = (f"{(number or 0) / share.scale:,.12g}" for number in (share.done, share.total))
            return f"{done} of {total}" if share.total else done

    def _current_share(self) -> Share:
        """Return the share of the stage under way."""
        self.stage = self._admit(self.stage)
        return self._share(self.stage)

    def _admit(self, stage: str) -> str:
        """Return ``stage``, or `OTHER` if the run has as many stages as it may have."""
        if stage not in self._names and len(self._names) >= MAX_STAGES - 1:
            return OTHER
        self._names.add(stage)
        return stage

    def _share(self, stage: str) -> Share:
        return self.shares.setdefault(stage, Share())
