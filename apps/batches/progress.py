"""The `BatchProgress` object that the API, the sockets and the pages show, and the pure function that makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from statistics import fmean
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from apps.progress.estimates import SecondsRange
from apps.progress.groups import Group
from apps.progress.percentage import UNFINISHED_MOST
from apps.progress.snapshot import Eta, Moment
from apps.progress.transitions import FINISHED, WORKING, State

from .time_left import time_left, usual_duration

# The order of the segments of a batch's bar: what is done, what is worked on, what has failed, what is to come.
_ORDER: Final = (State.READY, State.EMBEDDING, State.INDEXING, State.ERROR, State.PENDING)


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What the database says of one dataset of a batch."""

    dataset_pk: int
    dataset_id: str
    epoch: str
    version: int
    run_pk: int  # of the latest run; 0: it never ran
    group: Group
    state: State
    percent: float | None
    failed: int
    skipped: int
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    left: SecondsRange | None = None  # of a run that is worked on; None where it is not known


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """A batch with those of its datasets that somebody sees."""

    batch_pk: int
    batch_id: str
    name: str
    limit: int
    batch_epoch: str
    batch_version: int
    changed_at: datetime
    members: tuple[MemberFacts, ...]

    @property
    def epoch(self) -> str:
        """Another where there are other datasets, or those have another epoch: versions are sums over the same ones."""
        of_members = "".join(sorted(f" {one.dataset_pk}:{one.epoch}" for one in self.members))
        return blake2b((self.batch_epoch + of_members).encode(), digest_size=8).hexdigest()

    @property
    def version(self) -> int:
        """Grows with every change of a dataset that is seen, because it is the sum of their versions."""
        return self.batch_version + sum(one.version for one in self.members)

    @property
    def vitals(self) -> str:
        """What changes with time alone, in a word: how many datasets need attention."""
        return str(sum(one.group is Group.ATTENTION for one in self.members))


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchCounts(_Frozen):
    """How many datasets are in each state."""

    pending: int = 0
    indexing: int = 0
    embedding: int = 0
    ready: int = 0
    error: int = 0


class BatchGroups(_Frozen):
    """How many datasets are in each group, as in the list. Each is in one."""

    attention: int = Field(0, description="They failed, are lost, or make no progress.")
    running: int = 0
    paused: int = 0
    queued: int = 0
    cancelled: int = 0
    ready: int = 0
    new: int = Field(0, description="They have never run.")


class BatchSegment(_Frozen):
    """A part of the bar: the datasets of one state."""

    state: State
    still: bool = Field(description="They are paused or cancelled.")
    datasets: int
    percent: float = Field(description="How far they are, on average, 0..100.")


class BatchProgress(_Frozen):
    """How far the datasets of a batch are, of those that the caller may see."""

    batch_id: str
    name: str
    state: State = Field(
        description="A working state while a dataset is worked on; else `pending` while one waits, `error` where one "
        "ended in error, `ready` where all are ready."
    )
    current: int = Field(description="Datasets that are ready.")
    total: int = Field(description="Datasets.")
    message: str = Field(description="One line for people.")
    error: str | None
    updated_at: Moment
    version: int = Field(description="Grows with every change of any of these datasets.")
    epoch: str = Field(description="Versions of two epochs are not compared: other datasets have another epoch.")
    percent: float | None = Field(
        description="The mean over the datasets, 0..100. It falls only where a dataset is run again or joins, and is "
        "below 100 until all are ready. Null without datasets."
    )
    eta_seconds: Eta | None = Field(
        description="Until the last dataset is done, side by side on the workers there are. Null while there is not "
        "enough to say."
    )
    paused: bool = Field(description="Every run that is not over is paused.")
    cancelled: bool = Field(description="All that ended in error were cancelled.")
    failed: int = Field(description="Items that could not be processed, of all datasets.")
    skipped: int = Field(description="Unchanged items, of all datasets.")
    limit: int = Field(description="How many datasets this site's workers process at once; 0: any number.")
    counts: BatchCounts
    groups: BatchGroups
    segments: tuple[BatchSegment, ...]

    @property
    def is_working(self) -> bool:
        return self.state in WORKING

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def is_moving(self) -> bool:
        """Whether a dataset is worked on."""
        return self.groups.running > 0


def batch_progress(facts: BatchFacts) -> BatchProgress:
    """Return what watchers see of a batch."""
    members = facts.members
    states = Counter(one.state for one in members)
    groups = Counter(one.group for one in members)
    state = _state(members, states)
    failed = states[State.ERROR] - groups[Group.CANCELLED]
    return BatchProgress(
        batch_id=facts.batch_id,
        name=facts.name,
        state=state,
        current=states[State.READY],
        total=len(members),
        message=message_of(states[State.READY], len(members), failed, groups[Group.CANCELLED]),
        error=_error(failed, groups[Group.CANCELLED]) if state is State.ERROR else None,
        updated_at=max([facts.changed_at, *(one.updated_at for one in members)]),
        version=facts.version,
        epoch=facts.epoch,
        percent=_percent(members, state),
        eta_seconds=_eta(members),
        paused=groups[Group.PAUSED] > 0 and groups[Group.PAUSED] == sum(_is_unfinished(one) for one in members),
        cancelled=state is State.ERROR and not failed,
        failed=sum(one.failed for one in members),
        skipped=sum(one.skipped for one in members),
        limit=facts.limit,
        counts=BatchCounts(**{word.value: count for word, count in states.items()}),
        groups=BatchGroups(**{group.value: count for group, count in groups.items()}),
        segments=_segments(members),
    )


def message_of(ready: int, total: int, failed: int, cancelled: int) -> str:
    """Return in one line how many datasets are ready, have failed and were cancelled."""
    if not total:
        return "No datasets."
    parts = [f"{ready:,} of {total:,} ready"]
    parts += [f"{count:,} {word}" for count, word in ((failed, "failed"), (cancelled, "cancelled")) if count]
    return f"{', '.join(parts)}."


def _is_unfinished(member: MemberFacts) -> bool:
    """Whether a run is begun and not over."""
    return member.group is not Group.NEW and member.state not in FINISHED


def _state(members: Sequence[MemberFacts], states: Counter[State]) -> State:
    if working := [state for state in (State.INDEXING, State.EMBEDDING) if states[state]]:
        return max(working, key=lambda state: states[state])
    if states[State.PENDING] or not members:
        return State.PENDING
    return State.ERROR if states[State.ERROR] else State.READY


def _error(failed: int, cancelled: int) -> str:
    count, word = (failed, "failed") if failed else (cancelled, "cancelled")
    was = "" if failed else "was " if count == 1 else "were "
    return f"{count:,} {'dataset' if count == 1 else 'datasets'} {was}{word}."


def _done(member: MemberFacts) -> float:
    return 100.0 if member.state is State.READY else member.percent or 0.0


def _percent(members: Sequence[MemberFacts], state: State) -> float | None:
    if not members:
        return None
    if state is State.READY:
        return 100.0
    return min(round(fmean(_done(one) for one in members), 2), UNFINISHED_MOST)


def _segments(members: Sequence[MemberFacts]) -> tuple[BatchSegment, ...]:
    return segments_of((one.state, one.group, 1, _done(one)) for one in members)


def segments_of(parts: Iterable[tuple[State, Group, int, float]]) -> tuple[BatchSegment, ...]:
    """Return the segments of a bar, in order. ``parts``: state, group, how many datasets, the sum of their percents."""
    by_look: dict[tuple[State, bool], tuple[int, float]] = {}
    for state, group, count, done in parts:
        look = state, group in (Group.PAUSED, Group.CANCELLED)
        before, done_before = by_look.get(look, (0, 0.0))
        by_look[look] = before + count, done_before + done
    return tuple(
        BatchSegment(state=state, still=still, datasets=count, percent=round(done / count, 2))
        for state in _ORDER
        for still in (False, True)
        for count, done in [by_look.get((state, still), (0, 0.0))]
        if count
    )


def _eta(members: Sequence[MemberFacts]) -> Eta | None:
    """Return the time left, if something is worked on. What is paused, lost or stalled takes no worker."""
    durations = [
        (one.finished_at - one.started_at).total_seconds()
        for one in members
        if one.group is Group.READY and one.started_at and one.finished_at
    ]
    running = [one for one in members if one.group is Group.RUNNING]
    waiting = sum(one.group in (Group.QUEUED, Group.NEW) for one in members)
    durations += [
        (one.updated_at - one.started_at).total_seconds() + (one.left.low + one.left.high) / 2
        for one in running
        if one.left is not None and one.started_at is not None
    ]
    left = time_left([one.left for one in running], waiting, usual_duration(durations))
    return Eta(low=round(left.low, 2), high=round(left.high, 2)) if left else None
