"""The thread that sends reports: the newest state, at most four times a second, whatever the server does.

The job never waits for this thread. The thread reads the job's counters and sends what the server has not acknowledged.
Nothing is queued, so there is nothing to catch up with after an outage.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from ._api import Api, logger
from ._errors import ProgressError, Refused

INTERVAL_SECONDS = 0.25
REQUESTS_A_SECOND = 4
HEARTBEAT_SECONDS = 10.0
# How often a paused run asks whether it may go on.
PAUSED_HEARTBEAT_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
# How long to retry the last report after nobody waits for it any more, while the program goes on.
MAX_RETRY_SECONDS = 600.0
# How long a run waits for the end of the run before it, which would be cancelled otherwise.
MAX_PREDECESSOR_SECONDS = 60.0

THREAD_NAME = "dataset-progress"


class RunOver(Exception):
    """The server says that the run has ended or is gone, though this process did not end it."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Source(Protocol):
    """What a `Sender` reports. It calls every method on its own thread."""

    def begin(self, api: Api) -> None:
        """Begin or find the run. Called again until it does not raise."""

    def on_tick(self) -> None:
        """Called again and again once the run has begun. May close the sender."""

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
    """Sends what ``source`` has to report, from a daemon thread, until it is closed.

    ``predecessor``: a sender that is being closed, whose last report comes first. Raises `RuntimeError` if no thread
    can be started.
    """

    def __init__(
        self, source: Source, api: Api, clock: Callable[[], float] = time.monotonic, predecessor: Sender | None = None
    ) -> None:
        self._source = source
        self._api = api
        self._clock = clock
        self._predecessor = predecessor
        self._line = _lines.setdefault(api.server.url, _Line())
        self._closing = threading.Event()
        self._deadline = 0.0
        self._not_before = 0.0  # when the server wants to be asked again
        self._has_sent_all = False
        logging.getLogger("httpx").addFilter(_is_from_another_thread)
        self._thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Send the last report. `wait` returns after ``seconds`` at the latest."""
        self._deadline = self._clock() + seconds
        self._closing.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end, at most ``seconds``."""
        self._thread.join(seconds)

    def wait(self) -> bool:
        """Wait for the last report to be acknowledged or the time to be over. Return whether it was acknowledged."""
        self._thread.join(max(0.0, self._deadline - self._clock()))
        return self._has_sent_all

    def _work(self) -> None:
        try:
            self._report()
        except RunOver as over:
            self._warn(over.refusal)
            with suppress(ProgressError):
                self._line.wait_for_turn()
                self._source.on_run_over(self._api)
        except ProgressError as error:
            self._warn(error)
        except Exception:
            # An error of this package must not reach the job.
            logger.warning("progress is no longer reported, because of an unexpected error", exc_info=True)
        finally:
            self._source.on_stopped()
            self._api.close()

    def _report(self) -> None:
        """Report until everything is acknowledged or the time is over.

        Raises `RunOver`, and `ProgressError` if the run can never be begun.
        """
        if self._predecessor is not None:
            self._predecessor.join(MAX_PREDECESSOR_SECONDS)
            self._predecessor = None
        has_begun = False
        failures = 0
        last_answer = self._clock()
        while True:
            if has_begun:
                self._source.on_tick()
            is_last = self._closing.is_set()
            wait = INTERVAL_SECONDS
            try:
                if not has_begun:
                    self._wait_for_turn()
                    self._source.begin(self._api)
                    has_begun = True
                updates = self._source.updates(is_last=is_last)
                if is_last and not updates:
                    self._has_sent_all = True
                    return
                quiet_seconds = PAUSED_HEARTBEAT_SECONDS if self._source.is_paused() else HEARTBEAT_SECONDS
                if not updates and self._clock() - last_answer >= quiet_seconds:
                    updates = self._source.heartbeat()
                if updates:
                    self._send(updates)
                    last_answer = self._clock()
                failures = 0
            except ProgressError as error:
                if not has_begun and _is_permanent(error):
                    raise
                self._warn(error)
                failures += 1
                backoff = INTERVAL_SECONDS * 2 ** min(failures, 10) * random.uniform(0.5, 1)  # noqa: S311 -- jitter
                retry_after = error.retry_after if isinstance(error, Refused) else 0.0
                self._not_before = self._clock() + retry_after
                wait = max(min(backoff, MAX_BACKOFF_SECONDS), retry_after)
            if not is_last:
                self._closing.wait(wait)
            elif self._clock() >= self._deadline:
                # Nobody waits any more, but the run stays open unless the server hears of its end.
                if not has_begun or self._clock() >= self._deadline + MAX_RETRY_SECONDS:
                    return
                time.sleep(wait)

    def _send(self, updates: list[dict[str, Any]]) -> None:
        self._wait_for_turn()
        try:
            refusal = self._source.acknowledge(updates, self._api.report(updates))
        except Refused as refused:
            if not _is_permanent(refused):
                raise
            self._source.discard(updates)
            refusal = refused
        if refusal is not None:
            self._warn(refusal)

    def _wait_for_turn(self) -> None:
        """Wait until the server wants to be asked again, and another request is not one too many.

        Somebody who waits for the last report waits no longer than they said.
        """
        time.sleep(max(0.0, min(self._not_before, self._deadline) - self._clock()))
        self._line.wait_for_turn()

    def _warn(self, error: ProgressError) -> None:
        """Log the first error of this server, and no others."""
        if not self._line.has_warned:
            self._line.has_warned = True
            logger.warning("progress is not reported: %s (the job goes on; further errors are not logged)", error)


class _Line:
    """What the senders of this process that report to one server share: the rate limit, and the one warning."""

    def __init__(self) -> None:
        self.has_warned = False
        self._lock = threading.Lock()
        self._turns: deque[float] = deque(maxlen=REQUESTS_A_SECOND)

    def wait_for_turn(self) -> None:
        """Wait until another request makes no more than `REQUESTS_A_SECOND`, in the order of the callers."""
        with self._lock:
            turn = time.monotonic()
            if len(self._turns) == REQUESTS_A_SECOND:
                turn = max(turn, self._turns[0] + 1)
            self._turns.append(turn)
        time.sleep(max(0.0, turn - time.monotonic()))


_lines: dict[str, _Line] = {}  # by the server's address


def _is_permanent(error: ProgressError) -> bool:
    """Return whether the server would always refuse the same request."""
    return isinstance(error, Refused) and error.status in (400, 409, 413, 415, 422) and error.code != "conflict"


def _is_from_another_thread(record: logging.LogRecord) -> bool:
    """A log filter that drops httpx's line for each request of a sender."""
    return record.threadName != THREAD_NAME


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lines.clear)
