"""The thread that reports: the newest state, at most four times a second, whatever the server does.

The job never waits for it. It reads counters that the job raises, and says what has changed since it was last heard;
nothing is queued, so there is nothing to catch up with.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from ._api import Api, logger
from ._errors import ProgressError, Refused

INTERVAL_SECONDS = 0.25
HEARTBEAT_SECONDS = 10.0
# While the run is paused, it is asked for the way on.
PAUSED_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0


THREAD = "dataset-progress"


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Keep the job's log free of a line for each of our requests."""
    return record.threadName != THREAD


class Source(Protocol):
    """What is reported. Every method is called on the sender's thread."""

    def begin(self, api: Api) -> None:
        """Begin the run, or find it; called again until it does not raise."""

    def news(self, *, final: bool) -> list[dict[str, Any]]:
        """What the server has not been told yet, as updates; what `told` confirms is not said again."""

    def has_more(self) -> bool:
        """Whether there is more news than one call of `news` returns."""

    def heartbeat(self) -> list[dict[str, Any]]:
        """A sign of life, as updates."""

    def told(self, updates: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
        """The server has answered. Raises `Refused` where there is nothing more to say to it."""

    def is_paused(self) -> bool:
        """Whether the run has been paused."""

    def over(self, api: Api) -> None:
        """The server says that the run is over, and not because it was told so."""


class Sender:
    """Reports what ``source`` has to say, from a daemon thread of its own, until it is closed."""

    def __init__(self, source: Source, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._api = api
        self._clock = clock
        self._closing = threading.Event()
        self._deadline = 0.0
        self._has_warned = False
        logging.getLogger("httpx").addFilter(_is_not_ours)
        self._thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Say the last word, within ``seconds``; then the thread is gone, or about to be."""
        self._deadline = self._clock() + seconds
        self._closing.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            self._report()
        except Refused as refusal:
            self._warn(refusal)
        except Exception:
            # Whatever it is, it is not the job's.
            logger.warning("reporting has failed, and ends", exc_info=True)
        finally:
            self._api.close()

    def _report(self) -> None:
        has_begun = False
        failures = 0
        heard = self._clock()
        while True:
            is_last = self._closing.is_set()
            try:
                if not has_begun:
                    self._source.begin(self._api)
                    has_begun = True
                has_more = self._source.has_more()
                updates = self._source.news(final=is_last)
                quiet = PAUSED_SECONDS if self._source.is_paused() else HEARTBEAT_SECONDS
                if not updates and self._clock() - heard >= quiet:
                    updates = self._source.heartbeat()
                if updates:
                    self._source.told(updates, self._api.report(updates))
                    heard = self._clock()
                failures = 0
                if is_last and not has_more:
                    return
            except ProgressError as error:
                if isinstance(error, Refused) and error.status in (404, 409, 422):
                    if error.code == "run_finished":
                        with suppress(ProgressError):
                            self._source.over(self._api)
                    raise
                self._warn(error)
                failures += 1
            if self._closing.is_set():
                if is_last and self._clock() >= self._deadline:
                    return
                time.sleep(0.05 if is_last else 0)
            else:
                self._closing.wait(min(INTERVAL_SECONDS * 2**failures, LONGEST_WAIT_SECONDS))

    def _warn(self, error: ProgressError) -> None:
        """Say once that reports do not arrive."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("progress is not reported: %s (the job goes on; this is said once)", error)
