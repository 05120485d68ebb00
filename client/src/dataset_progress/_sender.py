"""The thread that reports: the newest state, at most four times a second, whatever the server does.

The job never waits for it. It reads counters that the job raises, and says what has changed since it was last heard;
nothing is queued, so there is nothing to catch up with.
"""

from __future__ import annotations

import logging
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
# While the run is paused, it is asked for the way on.
PAUSED_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
# How long the end of a run is still tried to be said, while the program goes on.
LINGER_SECONDS = 600.0


THREAD = "dataset-progress"


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Keep the job's log free of a line for each of our requests."""
    return record.threadName != THREAD


class Over(Exception):
    """The server says that the run is over, or gone, and not because it was told so: ``refusal`` says how."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Source(Protocol):
    """What is reported. Every method is called on the sender's thread."""

    def begin(self, api: Api) -> None:
        """Begin the run, or find it; called again until it does not raise."""

    def news(self, *, final: bool) -> list[dict[str, Any]]:
        """What the server has not been told yet, as updates; what `told` has noted is not said again."""

    def heartbeat(self) -> list[dict[str, Any]]:
        """A sign of life, as updates."""

    def told(self, updates: list[dict[str, Any]], results: list[dict[str, Any]]) -> Refused | None:
        """The server has answered. Says what it will never take. Raises `Refused` where it may be asked again, `Over`
        where there is nothing more to say to it.
        """

    def dropped(self, updates: list[dict[str, Any]]) -> None:
        """The server will never take these."""

    def is_paused(self) -> bool:
        """Whether the run has been paused."""

    def over(self, api: Api) -> None:
        """Find out what the end of the run means for the job."""

    def ended(self) -> None:
        """Nothing is reported any more."""


class Sender:
    """Reports what ``source`` has to say, from a daemon thread of its own, until it is closed.

    Raises `RuntimeError` where no thread can be started.
    """

    def __init__(self, source: Source, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._api = api
        self._clock = clock
        self._closing = threading.Event()
        self._deadline = 0.0
        self._has_warned = False
        self._has_told_all = False
        self._asked: deque[float] = deque(maxlen=REQUESTS_A_SECOND)
        logging.getLogger("httpx").addFilter(_is_not_ours)
        self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Say the last word, for which whoever `wait`s has so many ``seconds``."""
        self._deadline = self._clock() + seconds
        self._closing.set()

    def wait(self) -> bool:
        """Wait until the last word is heard, or the time for it is over. Says whether it was."""
        self._thread.join(max(0.0, self._deadline - self._clock()))
        return self._has_told_all

    def _work(self) -> None:
        try:
            self._report()
        except Over as over:
            self._warn(over.refusal)
            with suppress(ProgressError):
                self._source.over(self._api)
        except ProgressError as error:
            self._warn(error)
        except Exception:
            # Whatever it is, it is not the job's.
            logger.warning("reporting has failed, and ends", exc_info=True)
        finally:
            self._source.ended()
            self._api.close()

    def _report(self) -> None:
        """Report until everything is said, or the time for it is over. Raises `Over`, and `ProgressError` where the
        run cannot be begun.
        """
        has_begun = False
        failures = 0
        heard = self._clock()
        while True:
            is_last = self._closing.is_set()
            wait = INTERVAL_SECONDS
            try:
                if not has_begun:
                    self._pace()
                    self._source.begin(self._api)
                    has_begun = True
                updates = self._source.news(final=is_last)
                if is_last and not updates:
                    self._has_told_all = True
                    return
                quiet = PAUSED_SECONDS if self._source.is_paused() else HEARTBEAT_SECONDS
                if not updates and self._clock() - heard >= quiet:
                    updates = self._source.heartbeat()
                if updates:
                    self._tell(updates)
                    heard = self._clock()
                failures = 0
            except ProgressError as error:
                if not has_begun and _is_for_ever(error):
                    raise
                self._warn(error)
                failures += 1
                backoff = INTERVAL_SECONDS * 2 ** min(failures, 10) * random.uniform(0.5, 1)  # noqa: S311 -- a wait
                wait = max(min(backoff, LONGEST_WAIT_SECONDS), error.retry_after if isinstance(error, Refused) else 0)
            if not is_last:
                self._closing.wait(wait)
            elif self._clock() >= self._deadline:
                # Nobody waits any more. The run is left open for ever unless the server hears of its end.
                if not has_begun or self._clock() >= self._deadline + LINGER_SECONDS:
                    return
                time.sleep(wait)

    def _tell(self, updates: list[dict[str, Any]]) -> None:
        self._pace()
        try:
            refusal = self._source.told(updates, self._api.report(updates))
        except Refused as refused:
            if not _is_for_ever(refused):
                raise
            self._source.dropped(updates)
            refusal = refused
        if refusal is not None:
            self._warn(refusal)

    def _pace(self) -> None:
        """Wait until another request makes no more than `REQUESTS_A_SECOND`."""
        if len(self._asked) == REQUESTS_A_SECOND:
            time.sleep(max(0.0, self._asked[0] + 1 - self._clock()))
        self._asked.append(self._clock())

    def _warn(self, error: ProgressError) -> None:
        """Say once that reports do not arrive."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("progress is not reported: %s (the job goes on; this is said once)", error)


def _is_for_ever(error: ProgressError) -> bool:
    """Whether the server would say the same of the same request at any time."""
    return isinstance(error, Refused) and error.status in (400, 409, 413, 415, 422) and error.code != "conflict"
