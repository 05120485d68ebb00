"""Sends the reports of one run: the newest state, several times a second, whatever the server does.

It reads the job's counters and sends what the server has not acknowledged. Nothing is queued, so there is nothing to
catch up with after an outage.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from ._api import BUSY, Api, logger
from ._errors import ProgressError, Refused
from ._sender_thread import SenderThread

INTERVAL_SECONDS = 0.25
HEARTBEAT_SECONDS = 5.0
# How often a paused run asks whether it may go on.
PAUSED_HEARTBEAT_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
# How long to retry the last report after nobody waits for it any more, while the program goes on.
MAX_RETRY_SECONDS = 600.0
# How long a run waits for the end of the run before it, which it would join otherwise.
MAX_PREDECESSOR_SECONDS = 60.0
# A last report that somebody waits for is treated as if it had been due for so long.
URGENT_SECONDS = 1e6


class RunOver(Exception):
    """The server says that the run has ended or is gone, though this process did not end it.

    ``is_expected``: whether it is another process that ends it.
    """

    def __init__(self, refusal: Refused, *, is_expected: bool) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.is_expected = is_expected


class Source(Protocol):
    """What a `Sender` reports. It calls every method on its own thread."""

    def begin(self, api: Api) -> None:
        """Begin or find the run. Called again until it does not raise."""

    def on_tick(self) -> None:
        """Called again and again. May close the sender."""

    def is_held(self) -> bool:
        """Return whether nothing is to be reported yet, or, at the end, nothing at all."""

    def updates(self, *, is_last: bool) -> list[dict[str, Any]]:
        """Return the updates that the server has not acknowledged. ``is_last``: with the end of the run."""

    def heartbeat(self) -> list[dict[str, Any]]:
        """Return the updates that only show that the job is alive."""

    def acknowledge(self, updates: list[dict[str, Any]], results: list[dict[str, Any]]) -> Refused | None:
        """Take the server's result for each update. Return the last refusal that is final.

        Raises `Refused` if an update should be sent again, `RunOver` if none should.
        """

    def discard(self, updates: list[dict[str, Any]]) -> None:
        """Do not send these updates again: the server refused them as a whole."""

    def is_paused(self) -> bool:
        """Return whether the run is paused."""

    def on_run_over(self, api: Api) -> None:
        """Find out whether the job should stop, after `RunOver`. May raise `ProgressError`."""

    def on_stopped(self) -> None:
        """Called when nothing is reported any more."""


class Sender:
    """Sends what ``source`` has to report over ``thread``, until it is closed and the last report is acknowledged.

    ``predecessor``: a sender that is being closed, whose last report comes first. Raises `RuntimeError` if nothing can
    be sent.
    """

    def __init__(
        self,
        source: Source,
        api: Api,
        thread: SenderThread,
        clock: Callable[[], float] = time.monotonic,
        predecessor: Sender | None = None,
    ) -> None:
        self._source = source
        self._api = api
        self._thread = thread
        self._clock = clock
        self._predecessor = predecessor
        self._predecessor_until = clock() + MAX_PREDECESSOR_SECONDS
        self._is_closing = False
        self._deadline = 0.0
        self._due = self._last_answer = clock()
        self._has_begun = False
        self._failures = 0  # in a row
        self._has_sent_all = False
        self._busy: Refused | None = None
        self._stopped = threading.Event()
        thread.add(self)

    def close(self, seconds: float) -> None:
        """Send the last report. `wait` returns after ``seconds`` at the latest."""
        self._due = self._clock()
        self._deadline = self._due + seconds
        self._is_closing = True
        self._thread.wake()

    def wait(self) -> bool:
        """Wait for the last report to be acknowledged or the time to be over. Return whether it was acknowledged."""
        self._stopped.wait(max(0.0, self._deadline - self._clock()))
        if not self._has_sent_all and (busy := self._busy) is not None:
            self._thread.warn(busy)  # what was only to be sent later may be lost with the program
        return self._has_sent_all

    # --- Called by the thread ----------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing is sent any more."""
        return self._stopped.is_set()

    def due_in(self, quiet_seconds: float) -> float:
        """Return in how many seconds `step` is due.

        Somebody who waits for the last report waits no longer than they said.
        """
        now = self._clock()
        if self._predecessor is not None and not self._predecessor.is_over and now < self._predecessor_until:
            return self._predecessor_until - now
        self._predecessor = None
        if not (self._is_closing and now < self._deadline):
            return max(self._due - now, quiet_seconds)
        # At once, before the runs that nobody waits for.
        return min(quiet_seconds, self._deadline - now) or min(self._due - now, 0.0) - URGENT_SECONDS

    def step(self) -> None:
        """Send what there is to say."""
        try:
            if self._report():
                return
        except RunOver as over:
            if not over.is_expected:
                self._thread.warn(over.refusal)
            with suppress(ProgressError):
                self._thread.wait_for_turn()
                self._source.on_run_over(self._api)
        except ProgressError as error:
            self._thread.warn(error)
        except Exception:
            # An error of this package must not reach the job.
            logger.warning("progress is no longer reported, because of an unexpected error", exc_info=True)
        self._source.on_stopped()
        self._stopped.set()

    def _report(self) -> bool:
        """Send once. Return whether to go on.

        Raises `RunOver`, and `ProgressError` if the run can never be begun.
        """
        self._source.on_tick()
        is_last = self._is_closing
        wait = INTERVAL_SECONDS
        if self._source.is_held():
            if is_last:
                self._has_sent_all = True
                return False
        else:
            try:
                if self._send(is_last=is_last):
                    self._has_sent_all = True
                    return False
                self._failures, self._busy = 0, None
            except ProgressError as error:
                if not self._has_begun and _is_permanent(error):
                    raise
                self._busy = error if isinstance(error, Refused) and error.status in BUSY else None
                if self._busy is None:
                    self._thread.warn(error)
                self._failures += 1
                backoff = INTERVAL_SECONDS * 2 ** min(self._failures, 10) * random.uniform(0.5, 1)  # noqa: S311 -- jitter
                wait = min(backoff, MAX_BACKOFF_SECONDS)
                if isinstance(error, Refused):
                    self._thread.keep_quiet(error.retry_after)
                # Nobody waits any more, but the run stays open unless the server hears of its end.
                if is_last and self._clock() >= self._deadline + MAX_RETRY_SECONDS:
                    return False
        if self._is_closing == is_last:  # else it was closed meanwhile, and is due at once
            self._due = self._clock() + wait
        return True

    def _send(self, *, is_last: bool) -> bool:
        """Send what the server does not know. Return whether that was all."""
        if not self._has_begun:
            self._thread.wait_for_turn()
            self._source.begin(self._api)
            self._has_begun = True
        updates = self._source.updates(is_last=is_last)
        if is_last and not updates:
            return True
        quiet_seconds = PAUSED_HEARTBEAT_SECONDS if self._source.is_paused() else HEARTBEAT_SECONDS
        if not updates and self._clock() - self._last_answer >= quiet_seconds:
            updates = self._source.heartbeat()
        if updates:
            self._thread.wait_for_turn()
            self._take(updates)
            self._last_answer = self._clock()
        return False

    def _take(self, updates: list[dict[str, Any]]) -> None:
        try:
            refusal = self._source.acknowledge(updates, self._api.report(updates))
        except Refused as refused:
            if not _is_permanent(refused):
                raise
            self._source.discard(updates)
            refusal = refused
        if refusal is not None:
            self._thread.warn(refusal)


def _is_permanent(error: ProgressError) -> bool:
    """Return whether the server would always refuse the same request."""
    return isinstance(error, Refused) and error.status in (400, 409, 413, 415, 422) and error.code != "conflict"
