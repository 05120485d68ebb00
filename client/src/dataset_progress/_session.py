"""The part of one process in a run: when it begins to report, and every way in which it ends."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import _exits, _inherit, _outer
from ._api import Server
from ._control import Control
from ._counting import Counter, Counts
from ._errors import Cancelled
from ._greeting import say_where
from ._job_errors import JobErrors
from ._membership import Giver
from ._registry import Registry
from ._report import Report
from ._sender import INTERVAL_SECONDS, Sender
from ._sender_thread import sender_thread
from ._settings import RunSettings

if TYPE_CHECKING:
    import httpx

# A job that was cancelled, and goes on for this long, is told to be going on.
MAX_STOPPING_SECONDS = 15.0
# One that has counted nothing for this long, after it was told, has stopped.
STOPPED_SECONDS = 2.0
NOT_STOPPED = "The job has not stopped."
# For so long the loops of a forked process may turn out to be parts of one that begins in the process that forked it.
HELD_SECONDS = 2.0


class Session:
    """Counts, reports and obeys on behalf of one process.

    ``finishes``: whether this process ends the run. ``shares``: whether it shares the run with other programs, and the
    last ends it. ``giver``: the process that gave the run to this one.
    ``is_shared``: whether other processes were given the run.

    The run of plain loops ends by itself (`linger`): the thread of its sender ends it, so that no loop waits.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        stage: str,
        finishes: bool,
        shares: bool = False,
        giver: Giver | None = None,
        worker: str | int | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.counts = Counts(stage, (each["name"] for each in settings.stages))
        self._finishes = finishes
        self._shares = shares
        self._giver = giver
        self._transport = transport
        self._clock = clock
        self.control = Control(settings.dataset_id, clock, obeys=settings.obeys)
        self._open(worker)
        if self.is_enabled:
            _sessions.add(self)
            _inherit.inheritables.add(self)
            _exits.endables.add(self)

    def _open(self, worker: str | int | None = None) -> None:
        self.report = Report(
            self.settings, self.counts, self.control, worker, finishes=self._finishes, shares=self._shares,
            giver=self._giver,
        )  # fmt: skip
        self.report.tick = self._on_tick
        self.is_closed = False
        self.is_shared = False
        self._sender: Sender | None = None
        self.job_errors = JobErrors()
        self._held_until = 0.0
        self._counted, self._counted_at = -1, 0.0
        self._lingers_until: float | None = None
        self._lingering_error: BaseException | None = None

    @property
    def is_enabled(self) -> bool:
        """Whether anything is reported at all."""
        return bool(self.settings.server.url)

    # --- Beginning ---------------------------------------------------------------------------------------------------

    def hold_if_uncertain(self) -> None:
        """Hold what loops count from now on, if they may be parts of a loop in the process that forked this one."""
        with self.counts.lock:
            if _outer.is_uncertain() and self.counts.held is None:
                self.counts.held = []
                self._held_until = self._clock() + HELD_SECONDS

    def _decide_on_held(self, *, is_last: bool = False) -> None:
        if self.counts.held is None:
            return
        if _outer.is_within_loop(self.settings.dataset_id, self.settings.server):
            self.counts.drop_held()
        elif is_last or self._clock() >= self._held_until:
            self.counts.held = None
            _outer.be_certain()

    def start(self) -> None:
        """Start the sender, unless it has been started or there is nothing to report to."""
        if self._sender is not None or self.is_closed or not self.is_enabled:
            return
        predecessor = self._end_predecessor()
        with self.counts.lock:
            if self._sender is not None or self.is_closed:
                return
            thread = sender_thread(self.settings.server)
            try:
                api = thread.api(self.settings.server, self._transport)
                self._sender = Sender(self.report, api, thread, self._clock, predecessor)
            except Exception as error:  # no thread can be started, or none any more
                self.settings = replace(self.settings, server=Server("", ""))
                thread.warn(error)
            else:
                _exits.end_with_worker_process()
        if self.is_enabled and not self.settings.quiet and self._giver is None:
            say_where(self.settings.server.url, self.settings.dataset_id)

    def _end_predecessor(self) -> Sender | None:
        """End a run of the dataset that waits for further loops. Return the sender whose last report comes first."""
        last: Sender | None = None
        for other in _sessions:
            is_same = (self.settings.dataset_id, self.settings.server) == (
                other.settings.dataset_id, other.settings.server
            )  # fmt: skip
            if other is not self and is_same:
                last = other.end_if_idle() or last
        return last

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
        is_first = self._end(error)
        if self._sender is None or not is_first:
            return
        seconds = self.settings.flush_seconds
        if self._finishes and self.is_shared and error is None:
            # Reports of other processes are on their way, and would be refused after the end of the run.
            time.sleep(others := min(2 * INTERVAL_SECONDS, seconds / 2))
            seconds -= others
        self._sender.close(seconds)

    def _end(self, error: BaseException | str | None, message: str = "") -> bool:
        """Stop counting, and settle how the run ends. Return whether it had not been ended before."""
        if isinstance(error, SystemExit) and not error.code:
            error = None  # sys.exit(0) is no failure
        with self.counts.lock:
            if self.is_closed:
                return False
            self.is_closed = True
            self._decide_on_held(is_last=True)
            if error is None and self.control.is_cancelled:
                if self.control.is_unstoppable:
                    error, message = Cancelled(NOT_STOPPED), NOT_STOPPED
                elif self.control.raised_at is not None:  # and caught, or left behind in a notebook
                    error = Cancelled()
            self.counts.settle(is_done=error is None)
            if error is None and self.counts.was_left and not self.counts.is_complete():
                message = f"Stopped at {self.counts.describe()}."
            self.report.end(error, message or self.counts.last_message)
            return True

    def end_with_program(self, error: BaseException | None, *, was_terminated: bool) -> None:
        """End the run because the program ends, unless it is closed. Does not wait for the last report."""
        if self._sender is None:
            return
        if self.is_closed:
            if self._lingers_until is not None:  # nobody has waited for its last report yet
                self._sender.close(self.settings.flush_seconds)
            return
        is_idle = self._lingers_until is not None
        if isinstance(error, SystemExit) and not error.code:
            error = None  # sys.exit(0) is no failure
        if error is not None and self.job_errors.explains_end_of_program(error):
            self._begin_to_close(error)
        elif is_idle or (not was_terminated and (self.counts.was_left or self.job_errors.is_watching)):
            self.counts.leave_all()
            self._begin_to_close(self._lingering_error)
        elif not was_terminated and self.counts.is_complete():
            self._begin_to_close(None)
        else:
            self._begin_to_close(f"The program ended after {self.counts.describe()}.")

    def wait(self) -> None:
        """Wait for the last report, if the run is closed."""
        if self.is_closed and self._sender is not None:
            self._sender.wait()

    # --- The run of plain loops --------------------------------------------------------------------------------------

    def linger(self, seconds: float, error: BaseException | None = None) -> None:
        """End the run in ``seconds``, unless another loop begins (`take_loop`); at once with ``error``.

        A run that the server has not taken goes on in any case, so that no threads pile up while the server is down.
        Never waits.
        """
        with self.counts.lock:
            if self.is_closed:
                return
            self._lingers_until = self._clock() + (seconds if error is None else 0)
            self._lingering_error = error
            if error is not None and self.report.has_begun:
                self._end_unattended(error)

    def take_loop(self) -> bool:
        """Return whether another loop can be counted in this run: whether it has not ended, here or at the server."""
        with self.counts.lock:
            is_over = self.report.is_stopped and self.report.has_begun
            # Someone has cancelled the job between two loops. The second has to hear of it.
            is_recently_cancelled = (
                self.control.is_requested and self._lingers_until is not None and self._clock() < self._lingers_until
            )
            if self.is_closed or (is_over and not is_recently_cancelled):
                return False
            self._lingers_until = self._lingering_error = None
            return True

    def watch_loop(self) -> None:
        """Look out for an exception that leaves the function or the task that calls this."""
        self.job_errors.watch()

    def end_if_idle(self) -> Sender | None:
        """End the run now if it only waits for another loop. Return the sender if its last report is on its way."""
        with self.counts.lock:
            if self._lingers_until is not None:
                self._end_unattended(self._lingering_error)
            return None if self.report.is_stopped or not self.is_closed else self._sender

    def _on_tick(self) -> None:
        with self.counts.lock:
            self._decide_on_held()
            if not self.report.has_begun:
                return
            if self.control.is_ignored(MAX_STOPPING_SECONDS):
                self._lingers_until = self._clock()
                self._end_unattended(Cancelled(NOT_STOPPED), message=NOT_STOPPED)
            elif self._has_stopped():
                self._lingers_until = self._clock()
                self._end_unattended(Cancelled())
            elif (error := self.job_errors.find()) is not None:
                self._lingers_until = self._clock()
                self._end_unattended(error)
            elif self._lingers_until is not None and self._clock() >= self._lingers_until:
                self._end_unattended(self._lingering_error)

    def _has_stopped(self) -> bool:
        """Return whether the job was told that it is cancelled, and has counted nothing for a while."""
        if self.control.raised_at is None:
            return False
        if (counted := self.counts.counted()) != self._counted:
            self._counted, self._counted_at = counted, self._clock()
        return self._clock() - self._counted_at >= STOPPED_SECONDS

    def _end_unattended(self, error: BaseException | None, message: str = "") -> None:
        """End the run while nobody waits for its last report. A share of another process's run stays open."""
        if self._finishes and self._end(error, message) and self._sender is not None:
            self._sender.close(0)

    # --- Other processes ---------------------------------------------------------------------------------------------

    def to_be_copied(self) -> dict[str, Any]:
        """Return what `session_of_copy` needs in another process, and expect its reports."""
        self.is_shared = True
        return {
            "settings": self.settings, "stage": self.counts.stage, "shares": self._shares,
            "giver": self.report.as_giver(),
        }  # fmt: skip

    def after_fork_in_parent(self) -> None:
        """Expect reports of the child."""
        self.is_shared = True

    def after_fork_in_child(self) -> None:
        """Count from zero as another worker, and let the parent end the run."""
        if not self.is_closed:
            self._finishes = False
            self._giver = self.report.as_giver()
            self.counts.reset()
            self.control.reset()
            self._open()


_sessions: Registry[Session] = Registry()
_copies: weakref.WeakValueDictionary[object, Session] = weakref.WeakValueDictionary()


def session_of_copy(state: dict[str, Any]) -> Session:
    """Return the session for a copy of a run. All copies in this process that count in one stage share one.

    A task of a pool often comes with a copy of its own; each would have to begin by itself to report.
    """
    settings: RunSettings = state["settings"]
    identity = state["giver"].name, settings.key, settings.dataset_id, settings.server, state["stage"]
    session = _copies.get(identity)
    if session is None or session.is_closed:
        session = _copies[identity] = Session(**state, finishes=False)
    return session
