"""The part of one process in a run: when it begins to report, and every way in which it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from . import _exits, _inherit
from ._api import Api, Server, logger
from ._control import Control
from ._counting import Counter, Counts
from ._report import Report
from ._sender_thread import INTERVAL_SECONDS, Sender
from ._settings import RunSettings

if TYPE_CHECKING:
    import httpx

# After a loop was left early, wait this long for the program to end, which tells why.
ABANDON_SECONDS = 5.0


class Session:
    """Counts, reports and obeys on behalf of one process.

    ``finishes``: whether this process ends the run. ``is_shared``: whether other processes were given the run.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        stage: str,
        finishes: bool,
        worker: str | int | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.counts = Counts(stage)
        self._finishes = finishes
        self._transport = transport
        self._clock = clock
        self._open(worker)
        if self.is_enabled:
            _inherit.inheritables.add(self)
            _exits.endables.add(self)

    def _open(self, worker: str | int | None = None) -> None:
        self.control = Control(self.settings.dataset_id, self._clock, obeys=self.settings.obeys)
        self.report = Report(self.settings, self.counts, self.control, worker)
        self.is_closed = False
        self.is_shared = False
        self._sender: Sender | None = None
        self._abandoned = ""
        self._error_before = _exits.last_error()

    @property
    def is_enabled(self) -> bool:
        """Whether anything is reported at all."""
        return bool(self.settings.server.url)

    # --- Beginning ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the sender, unless it has been started or there is nothing to report to."""
        if self._sender is not None or self.is_closed or not self.is_enabled:
            return
        with self.counts.lock:
            if self._sender is not None or self.is_closed:
                return
            try:
                self._sender = Sender(self.report, Api(self.settings.server, self._transport), self._clock)
            except Exception as error:  # no thread can be started, or none any more
                self.settings = replace(self.settings, server=Server("", ""))
                logger.warning("progress is not reported: %s (the job goes on)", error)
            else:
                _exits.end_with_worker_process()

    def count(self, stage: str, counter: Counter, owner: object) -> bool:
        """`Counts.add`, and report it."""
        is_outermost = self.counts.add(stage, counter, owner)
        if is_outermost:
            self.start()
        return is_outermost

    # --- Ending ------------------------------------------------------------------------------------------------------

    def close(self, error: BaseException | str | None) -> bool:
        """End the run and wait for the last report; see `Run.close`."""
        with _exits.defer_termination():
            self._begin_to_close(error)
            return self._sender is None or (self._sender.wait() and not self.report.is_end_refused)

    def _begin_to_close(self, error: BaseException | str | None) -> None:
        if self._finishes:
            self.start()
        if isinstance(error, SystemExit) and not error.code:
            error = None  # sys.exit(0) is no failure
        with self.counts.lock:
            is_first = not self.is_closed
            self.is_closed = True
            if is_first and self._finishes:
                self.report.end(error)
        if self._sender is None or not is_first:
            return
        seconds = self.settings.flush_seconds
        if self._finishes and self.is_shared and error is None:
            # Reports of other processes are on their way, and would be refused after the end of the run.
            time.sleep(others := min(2 * INTERVAL_SECONDS, seconds / 2))
            seconds -= others
        self._sender.close(seconds)

    def abandon(self) -> None:
        """Handle a loop that was left early: by a ``break``, or by an exception, which it cannot know.

        The run fails in `ABANDON_SECONDS`, unless the program ends first, which may tell why.
        """
        self._abandoned = f"The loop was left after {self.counts.describe()}."
        self.report.may_replace = False
        timer = threading.Timer(ABANDON_SECONDS, self.close, [self._abandoned])
        timer.daemon = True
        with suppress(RuntimeError):  # the program is ending
            timer.start()

    def end_with_program(self, error: BaseException | None, *, was_terminated: bool) -> None:
        """End the run because the program ends, unless it is closed. Does not wait for the last report."""
        if self._sender is None or self.is_closed:
            return
        if error is not None and error is not self._error_before:
            self._begin_to_close(error)
        elif self._abandoned:
            self._begin_to_close(self._abandoned)
        elif not was_terminated and self.counts.is_complete():
            self._begin_to_close(None)
        else:
            self._begin_to_close(f"The program ended after {self.counts.describe()}.")

    def wait(self) -> None:
        """Wait for the last report, if the run is closed."""
        if self.is_closed and self._sender is not None:
            self._sender.wait()

    # --- Forks -------------------------------------------------------------------------------------------------------

    def after_fork_in_parent(self) -> None:
        """Expect reports of the child."""
        self.is_shared = True

    def after_fork_in_child(self) -> None:
        """Count from zero as another worker, and let the parent end the run."""
        if not self.is_closed:
            self._finishes = False
            self.counts.reset()
            self._open()
