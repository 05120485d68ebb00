"""What happened in a run, in the words of a person, in order of time; and its reporter's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from apps.pages.words import named
from apps.progress.models import Run, RunMember, RunMessage, Transition
from apps.progress.transitions import StageState, State

# How many moves of a run are read. A run of 64 stages has three for each, and those that people ask for.
MAX_MOVES: Final = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``details``: for those who may steer."""

    at: datetime
    text: str
    details: str = ""


def events_of(run: Run, labels: Mapping[str, str], *, may_steer: bool) -> list[Event]:
    """Return the events of a run, the oldest first. ``labels``: of its stages, by name. Two queries.

    Those who may steer the dataset are told who did what.
    """
    moves = sorted(Transition.objects.filter(run=run).order_by("-pk")[:MAX_MOVES], key=_order)
    events = [event for move in moves if (event := _moved(run, move, labels, may_steer)) is not None]
    if run.joined:
        for member in RunMember.objects.filter(run=run).exclude(worker="")[:MAX_MOVES]:
            events.append(Event(member.joined_at, f"{member.worker} joined"))
            if member.left_at is not None:
                events.append(Event(member.left_at, f"{member.worker} {'failed' if member.error else 'left'}"))
    return sorted(events, key=lambda event: event.at)


def _order(move: Transition) -> tuple[datetime, int, int]:
    """Return what moves are sorted by: a run that starts with its first stage started before that stage did."""
    beginnings = {"": 0, State.PENDING.value: 1}
    return move.at, 2 if move.stage else beginnings.get(move.old, 2), move.pk


def messages_of(run: Run) -> list[Event]:
    """Return the last messages of a run's reporter, the oldest first."""
    return [Event(message.at, message.text) for message in RunMessage.objects.filter(run=run)]


def _moved(run: Run, move: Transition, labels: Mapping[str, str], may_steer: bool) -> Event | None:
    if move.stage:
        label = labels.get(move.stage, move.stage)
        words = {StageState.ACTIVE: f"{label} began", StageState.DONE: f"{label} done"}
        text = words.get(StageState(move.new), "")
        return Event(move.at, text) if text else None
    by = f" by {named(move.note)}" if may_steer and move.note else ""
    match move.old, move.new:
        case _, "skipped":
            return Event(move.at, f"Skipped the run {move.note}: this one goes on")
        case _, Run.Control.PAUSE:
            return Event(move.at, f"Paused{by}")
        case Run.Control.PAUSE, Run.Control.RUN:
            return Event(move.at, f"Resumed{by}")
        case _, Run.Control.CANCEL:
            return Event(move.at, f"Cancellation asked for{by}")
        case _, "retry":
            return Event(move.at, "Asked to process again")
        case "retry", _:
            return Event(move.at, f"Request to process again withdrawn{by}")
        case "", _:
            starter = f" by {named(run.started_by)}" if may_steer and run.started_by else ""
            return Event(move.at, f"Queued{starter}")
        case State.PENDING, State.INDEXING | State.EMBEDDING:
            return Event(move.at, "Started")
        case _, State.READY:
            return Event(move.at, "Ready")
        case _, State.ERROR:
            return _ended(run, move, may_steer)
    return None


def _ended(run: Run, move: Transition, may_steer: bool) -> Event:
    error = run.error.strip().partition("\n")[0]
    if run.cancelled:
        by = f" by {named(run.control_by)}" if may_steer and run.control_by else ""
        why = "" if error == "Cancelled." else f": {error.removeprefix('Cancelled. ')}"
        return Event(move.at, f"Cancelled{by}{why}")
    details = move.note if may_steer and move.note not in run.error else ""
    return Event(move.at, f"Failed: {error}", details=details)
