"""The rules by which programs share a run, applied to rows in memory. The head is locked meanwhile. No SQL.

A member is living until it leaves, or is not heard for the time after which a run is lost; being heard again brings it
back. Whoever began the run without joining it is living also before it is heard for the first time. The run ends when a
member has left and no other is living: at once, or when the others have been silent for that time (`end_if_left`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from apps.core.text import ERROR_LENGTH, clean_text

from . import health, listening
from .errors import LimitReached, NotJoined
from .loaded_run import is_new
from .models import Run, RunMember
from .run_state import RunState

MAX_RUN_MEMBERS: Final = 1_000
# `heard_at` is written at most this often.
HEARD_SPACING: Final = timedelta(seconds=5)
FIRST: Final = ""  # the name of whoever began the run without joining it


def is_alive(state: RunState) -> bool:
    """Whether an unfinished run was heard of within the time after which it would be lost, or still waits to begin."""
    heartbeat_at = state.run.heartbeat_at
    return heartbeat_at is None or _was_heard_lately(state, heartbeat_at)


def join(state: RunState, worker: str) -> None:
    """Make ``worker`` a living member, also if it has left before. All members are loaded. Raises `LimitReached`."""
    if not (state.run.joined or is_new(state.run)):
        first = _add(state, FIRST)
        first.heard_at = max(first.joined_at, state.run.heartbeat_at or first.joined_at)
    member = state.members.get(worker) or _add(state, worker)
    member.heard_at, member.left_at, member.error = _now(state, member), None, ""
    state.note_heartbeat(is_new=True)


def hear(state: RunState, worker: str | None) -> None:
    """Note that a member was heard. A report from no member counts as one from whoever began the run."""
    member = state.members.get(worker or FIRST) or state.members.get(FIRST)
    if member is not None and state.now - member.heard_at >= HEARD_SPACING:
        member.heard_at = state.now


def leave(state: RunState, worker: str, error: str | None) -> None:
    """Let a member leave, with an error if it failed; again changes nothing. All members are loaded.

    Without another living member the run ends: in error with the error of the first that failed, else ready. Raises
    `NotJoined`.
    """
    member = state.members.get(worker)
    if member is None:
        raise NotJoined(f"Run {state.run.number} has no member {worker!r}.")
    if member.left_at is None:
        member.left_at = member.heard_at = _now(state, member)
        if error is not None:
            member.error = clean_text(error, ERROR_LENGTH) or "Failed, and no reason was given."
    _end_if_left_by_all(state)


def end_if_left(state: RunState) -> None:
    """End the run as `leave` does, if a member has left and no other is living any more. All members are loaded."""
    if not state.run.is_finished and any(member.left_at is not None for member in state.members.values()):
        _end_if_left_by_all(state)


def _end_if_left_by_all(state: RunState) -> None:
    if any(_is_living(state, each) for each in state.members.values()):
        return
    failed = [each for each in state.members.values() if each.error]
    if not failed:
        state.finish()
    elif state.run.control == Run.Control.CANCEL:
        state.cancel()
    else:
        state.fail(min(failed, key=lambda each: each.left_at or state.now).error)
    state.set_message("")


def _add(state: RunState, worker: str) -> RunMember:
    if len(state.members) >= MAX_RUN_MEMBERS:
        raise LimitReached(f"A run may have {MAX_RUN_MEMBERS:,} members.")
    joined_at = state.run.created_at if worker == FIRST else state.now
    member = RunMember(run=state.run, worker=worker, joined_at=joined_at, heard_at=state.now)
    state.members[worker] = member
    state.run.joined += 1
    return member


def _now(state: RunState, member: RunMember) -> datetime:
    """Return the time, and never one before the member joined: the clocks of two web processes may differ."""
    return max(state.now, member.joined_at)


def _is_living(state: RunState, member: RunMember) -> bool:
    if member.left_at is not None:
        return False
    # Whoever began the run and was never heard waits: a queued run may do so for hours.
    waits = member.worker == FIRST and member.heard_at == member.joined_at
    return waits or _was_heard_lately(state, member.heard_at)


def _was_heard_lately(state: RunState, heard_at: datetime) -> bool:
    patience = health.lost_after(state.run.sign_gap)
    is_recent = (state.now - heard_at).total_seconds() <= patience
    return is_recent or listening.is_unheard(heard_at, patience, state.now)
