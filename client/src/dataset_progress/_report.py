"""What a run reports, and what the server answers: everything that the sender asks for."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from typing import Any

from . import _values as values
from ._api import Api
from ._control import Control
from ._counting import Counts
from ._errors import Cancelled, Refused
from ._membership import Giver, Membership
from ._sender import RunOver
from ._settings import RunSettings

# What one request may list, so that the server and proxies accept its size.
MAX_FAILURES_A_REQUEST = 1000
MAX_FAILURE_CHARACTERS_A_REQUEST = 200_000
# What is said of a stage, and said again once it has changed.
STAGE_FIELDS = ("current", "failed", "total", "label", "unit")


class Report:
    """The report of one process on a run; the `Source` of its sender.

    ``finishes``: whether this process ends the run. ``shares``: whether it shares the run with other programs on the
    dataset, so that it ends when the last has left. ``giver``: the process that gave the run to this one. Whichever of
    them is first begins the run in the name of the giver.
    ``is_end_refused``: whether the server refused the end of the run.
    ``is_stopped``: whether nothing is reported any more. ``tick``: what `on_tick` calls.
    """

    def __init__(
        self,
        settings: RunSettings,
        counts: Counts,
        control: Control,
        worker: str | int | None,
        *,
        finishes: bool,
        shares: bool,
        giver: Giver | None,
    ) -> None:
        self._settings = settings
        self._counts = counts
        self._control = control
        self._worker = values.identifier(_unique_worker() if worker is None else worker)
        self._finishes = finishes
        self._giver = giver
        self._membership = Membership(settings, self._worker, shares=shares, giver=giver)
        self._run: int | None = None
        self._ending: dict[str, Any] = {}
        self._acknowledged: dict[str, dict[str, Any]] = {}  # counts by stage
        self._acknowledged_message = ""
        self._has_ended = False
        self.is_end_refused = False
        self.is_stopped = False
        self.tick: Callable[[], None] | None = None

    def as_giver(self) -> Giver:
        """Return what a process has to know that is given the run."""
        return Giver(self._membership.name, self._run)

    @property
    def has_begun(self) -> bool:
        """Whether the server has taken the run."""
        return self._run is not None

    def end(self, error: BaseException | str | None, message: str = "") -> None:
        """Add the end of the run: ready, or failed with ``error``; and a line for people."""
        self._ending = {"state": "ready"}
        if error is not None:
            has_traceback = self._settings.reports_traceback and not isinstance(error, Cancelled)
            self._ending = {"state": "error", "error": values.error_text(error, with_traceback=has_traceback)}
        if message:
            self._ending["message"] = message
        self._membership.note_ending(self._run, self._ending)

    # --- Called by the sender ----------------------------------------------------------------------------------------

    def begin(self, api: Api) -> None:
        """Begin the run, join the one that others report, or find it by its idempotency key."""
        self._run = self._membership.begin(api)

    def is_held(self) -> bool:
        """Return whether nothing is to be reported yet, because loops may be parts of one in another process.

        If all of them are, this process has no part in the run.
        """
        counts = self._counts
        return counts.held is not None or (counts.has_dropped and not counts.shares and self._run is None)

    def updates(self, *, is_last: bool) -> list[dict[str, Any]]:
        """Return what has changed: each stage, the one under way last, then the message, then the end of the run."""
        if self._has_ended:  # a job that was cancelled may go on
            return []
        counts, updates, batch = self._counts, [], _FailureBatch()
        with counts.lock:
            stages = [stage for stage in counts.shares if stage != counts.stage]
            for stage in [*stages, counts.stage]:
                if (share := counts.shares.get(stage)) is None:
                    continue
                share.read()
                counted: dict[str, Any] = {"current": values.count(share.done), "failed": share.failed}
                if share.total is not None:
                    counted["total"] = values.count(share.total)
                counted |= share.describe()
                failures = batch.take(share.failures)
                if counted != self._acknowledged.get(stage) or failures:
                    updates.append(self._update(stage=stage, worker=self._worker, failures=failures, **counted))
            if (message := counts.read_message()) != self._acknowledged_message:
                updates.append(self._update(message=message))
            if is_last and self._ending and not batch.is_full:
                updates += self._last_update()
        return updates

    def heartbeat(self) -> list[dict[str, Any]]:
        """Return an update without content, which shows that the job is alive."""
        # A worker says who it is once it has counted something: before, it would begin a share.
        return [self._update(worker=self._worker) if self._acknowledged else self._update()]

    def acknowledge(self, updates: list[dict[str, Any]], results: list[dict[str, Any]]) -> Refused | None:
        """Take the result of each update. Return the last refusal that is final.

        Raises `Refused` if an update should be sent again, `RunOver` if the run has ended.
        """
        final: Refused | None = None
        temporary: Refused | None = None
        action: str | None = None
        for update, result in zip(updates, results, strict=True):
            status, code = int(result.get("status", 0)), str(result.get("code"))
            refusal = Refused(status, code, str(result.get("detail")))
            if status == 200:
                action = str(result.get("control"))
            elif code == "run_finished" or status == 404:
                raise RunOver(refusal, is_expected=self._giver is not None)
            elif code == "conflict" or status not in (409, 422):
                temporary = refusal
                continue
            else:
                final = refusal
                self.is_end_refused |= "state" in update
            self._mark_sent(update)
        if action is not None:
            self._control.update(action)
        if temporary is not None:
            raise temporary
        return final

    def discard(self, updates: list[dict[str, Any]]) -> None:
        """Do not send these again, except for the end of the run, which is sent once more by itself."""
        for update in updates:
            if "state" not in update or len(updates) == 1:
                self.is_end_refused |= "state" in update
                self._mark_sent(update)

    def is_paused(self) -> bool:
        """Return whether the run is paused."""
        return self._control.is_paused

    def on_run_over(self, api: Api) -> None:
        """Cancel the job if its run was cancelled, but not if another run replaced it."""
        progress = api.progress(self._settings.dataset_id)
        if progress.get("run") == self._run and progress.get("cancelled"):
            self._control.update("cancel")

    def on_tick(self) -> None:
        """Look whether the run is to end."""
        if self.tick is not None:
            self.tick()

    def on_stopped(self) -> None:
        """Let a paused job continue, because nothing can tell it to resume any more."""
        self.is_stopped = True
        self.tick = None
        self._membership.end()
        self._control.end_pause()

    # -----------------------------------------------------------------------------------------------------------------

    def _last_update(self) -> list[dict[str, Any]]:
        """Return how this process leaves the run or ends it, if it does one or the other."""
        if self._membership.leaves:
            return [self._update(**self._ending, leave=True)]
        if self._finishes:
            return [self._update(**self._ending)]
        # A process that counts for others is not waited for any more, and is no silent worker.
        return [self._update(worker=self._worker, done=True)] if self._acknowledged else []

    def _update(self, **fields: Any) -> dict[str, Any]:
        member = {"worker": self._worker} if self._membership.leaves else {}
        return {"dataset_id": self._settings.dataset_id, "run": self._run, **member, **fields}

    def _mark_sent(self, update: dict[str, Any]) -> None:
        with self._counts.lock:
            if "state" in update or "done" in update:
                self._ending, self._has_ended = {}, True
            elif "message" in update:
                self._acknowledged_message = update["message"]
            if (stage := update.get("stage")) is not None:
                self._acknowledged[stage] = {field: update[field] for field in STAGE_FIELDS if field in update}
                del self._counts.shares[stage].failures[: len(update["failures"])]


class _FailureBatch:
    """The failed items that one request lists. ``is_full``: whether some had to be left for the next request."""

    def __init__(self) -> None:
        self._items_left, self._characters_left = MAX_FAILURES_A_REQUEST, MAX_FAILURE_CHARACTERS_A_REQUEST
        self.is_full = False

    def take(self, failures: list[tuple[str, str]]) -> list[dict[str, str]]:
        """Return as many of ``failures`` as fit, in the form of the API."""
        taken: list[dict[str, str]] = []
        for item, reason in failures:
            if self._items_left == 0 or self._characters_left <= 0:
                self.is_full = True
                break
            self._items_left -= 1
            self._characters_left -= len(item) + len(reason)
            taken.append({"item": item, "reason": reason})
        return taken


def _unique_worker() -> str:
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
