"""The rules of steering: what each action does to the latest run of a dataset. No SQL; the head is locked meanwhile.

Whoever comes second is told what the first did, which is an ordinary outcome. No unfinished run is without an action
that ends it: `CANCEL` asks its reporter, or ends it where nobody reports; `END` ends it where nobody obeys.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from .errors import Cancelling, NoRun, NotAsked, NothingFailed, ProgressError, RunUnfinished, TooEarly
from .models import Retry, Run
from .run_state import RunState
from .transitions import FINISHED, State

# How long whoever works on a run has to obey.
OBEY_WITHIN: Final = timedelta(seconds=15)


class Action(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    END = "end"
    RETRY = "retry"
    RETRY_FAILED = "retry-failed"


class Outcome(NamedTuple):
    """Whether an action changed the run, and what there is to say to whoever did it.

    ``refusal``: why it cannot be done; None where it is done, or is so already.
    """

    changed: bool
    detail: str
    refusal: ProgressError | None = None

    @classmethod
    def refused(cls, refusal: ProgressError) -> Outcome:
        return cls(False, str(refusal), refusal)


def apply(state: RunState, action: Action, by: str) -> Outcome:
    """Do ``action`` to a run, as ``by`` wants."""
    match action:
        case Action.RETRY:
            return _retry(state, Retry.ALL, by)
        case Action.RETRY_FAILED:
            return _retry(state, Retry.FAILED, by)
    if state.run.is_finished:
        return _without_run(state, action, by)
    match action:
        case Action.PAUSE:
            return _pause(state, by)
        case Action.RESUME:
            return _resume(state, by)
        case Action.CANCEL:
            return _cancel(state, by)
    return _end(state, by)


def requested(run: Run) -> Literal["pause", "resume", "cancel"] | None:
    """Return what the reporter of an unfinished run is asked and has not done yet; None where it is asked nothing."""
    if run.state in FINISHED or run.control_at is None:
        return None
    match run.control:
        case Run.Control.CANCEL:
            return "cancel"
        case Run.Control.PAUSE:
            return None if _is_paused(run) else "pause"
    return "resume" if run.control_seen_at is None and run.state != State.PENDING else None


def may_end_now(run: Run, now: datetime) -> bool:
    """Return whether a run may be ended over its reporter's head, which did not obey `OBEY_WITHIN` a request to stop or
    pause.
    """
    if requested(run) not in ("cancel", "pause") or run.control_at is None:
        return False
    return now - run.control_at >= OBEY_WITHIN


def _is_paused(run: Run) -> bool:
    """Whether a run that is asked to pause stands still: nothing works on it yet, or what does was told and counts no
    more. The items under way then may still be counted.
    """
    if run.state == State.PENDING:
        return True
    seen, progressed = run.control_seen_at, run.progressed_at
    return seen is not None and (progressed is None or progressed - seen < OBEY_WITHIN)


def _pause(state: RunState, by: str) -> Outcome:
    match state.run.control:
        case Run.Control.CANCEL:
            return Outcome.refused(Cancelling(f"{_who(state.run.control_by)} has cancelled it."))
        case Run.Control.PAUSE:
            return Outcome(False, f"{_who(state.run.control_by)} has paused it already.")
    state.request(Run.Control.PAUSE, by)
    return Outcome(True, "Pausing.")


def _resume(state: RunState, by: str) -> Outcome:
    match state.run.control:
        case Run.Control.CANCEL:
            return Outcome.refused(Cancelling(f"{_who(state.run.control_by)} has cancelled it."))
        case Run.Control.RUN:
            resumed = f"{_who(state.run.control_by)} has resumed it already." if state.run.control_at else ""
            return Outcome(False, resumed or "It is not paused.")
    state.request(Run.Control.RUN, by)
    return Outcome(True, "Resumed.")


def _cancel(state: RunState, by: str) -> Outcome:
    first = _who(state.run.control_by)
    is_new = state.run.control != Run.Control.CANCEL
    if is_new:
        state.request(Run.Control.CANCEL, by)
    heartbeat_at = state.run.heartbeat_at
    if heartbeat_at is None or state.now - heartbeat_at > OBEY_WITHIN:
        state.cancel()
        state.set_message("")
        return Outcome(True, "Cancelled. Nobody was working on it.")
    return Outcome(True, "Cancelling.") if is_new else Outcome(False, f"{first} has cancelled it already.")


def _end(state: RunState, by: str) -> Outcome:
    run = state.run
    if not may_end_now(run, state.now):
        if requested(run) is None:
            return Outcome.refused(NotAsked("Cancel it first. It can be ended where its reporter does not obey."))
        return Outcome.refused(TooEarly(f"Its reporter has {OBEY_WITHIN.seconds} s to obey."))
    run.control_by = by or run.control_by
    state.cancel("Cancelled. Its reporter did not obey.", f"ended by {by}" if by else "ended")
    state.set_message("")
    return Outcome(True, "Ended.")


def _retry(state: RunState, what: Retry, by: str) -> Outcome:
    head, run = state.head, state.run
    if not run.is_finished:
        return Outcome.refused(RunUnfinished(f"Run {run.number} is not finished."))
    if what == Retry.FAILED and not run.failed:
        return Outcome.refused(NothingFailed(f"No item of run {run.number} failed."))
    if head.retry == what:
        return Outcome(False, f"{_who(head.retry_by)} has asked for it already.")
    state.ask_retry(what, by)
    what_again = "it" if what == Retry.ALL else "its failed items"
    return Outcome(True, f"Asked to process {what_again} again.")


def _without_run(state: RunState, action: Action, by: str) -> Outcome:
    if action is Action.CANCEL and state.head.retry:
        state.withdraw_retry(by)
        return Outcome(True, "The request is withdrawn.")
    if state.run.cancelled and state.run.control_by:
        return Outcome.refused(NoRun(f"{_who(state.run.control_by)} has cancelled it."))
    return Outcome.refused(NoRun("No run is open."))


def _who(name: str) -> str:
    return name or "Someone"
