"""The rows of a run in memory, and what has changed of them since they were loaded. `run_state` has the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import Model

from .models import Head, ItemFailure, Run, RunMember, RunMessage, Stage, Transition, WorkerShare

# What watchers are not shown of a run and its stages. Where nothing else changes, the dataset keeps its version.
_UNVERSIONED_FIELDS: Final = frozenset(
    {
        "heartbeat_at",
        "progressed_at",
        "workers",
        "workers_done",
        "signs",
        "shared",
        "shared_total",
        "failures_listed",
        "joined",
        "learned",
    }
    | {"readings", "totals", "worked_seconds", "worked_until", "gap", "usual", "not_read", "skips_read", "sign_gap"}
    | {"message_count"}
)


Row = Run | Stage | WorkerShare | RunMember


class ChangedRow(NamedTuple):
    """A row, the names of its changed fields, and the values that were loaded."""

    row: Row
    fields: frozenset[str]
    loaded: dict[str, Any]


def is_new(row: Model) -> bool:
    """Whether a row has yet to be inserted. Django's `pk` says the same, and takes ten calls for it."""
    return row._state.adding


class LoadedRun:
    """A run, its stages and its dataset's head, in memory, at the time ``now``.

    `changed_rows` and the lists of new rows say what has to be written. ``shares`` and ``listed_failures`` hold what
    was loaded for the reports at hand: the shares of their workers by stage and worker, and as (stage, item) those of
    their failures that are listed already. ``members`` holds, by worker, the members that the reports name and whoever
    began the run, or all of them where one joins or leaves. ``new_unlisted`` counts failures beyond those listed, by
    (stage, reason). ``has_new_plan``: whether a stage has turned up that the plan does not have.
    """

    def __init__(self, head: Head, run: Run, stages: Iterable[Stage], now: datetime) -> None:
        self.head = head
        self.run = run
        self.stages = list(stages)
        self.now = now
        # How long nobody was heard before this change, if the run was lost.
        self.silent_seconds = 0.0
        self.shares: dict[tuple[str, str], WorkerShare] = {}
        self.members: dict[str, RunMember] = {}
        self.listed_failures: set[tuple[str, str]] = set()
        self.new_failures: dict[tuple[str, str], ItemFailure] = {}
        self.new_unlisted: Counter[tuple[str, str]] = Counter()
        self.new_transitions: list[Transition] = []
        self.has_new_plan = False
        self.retry_changed = False  # of the head
        self.new_messages: list[RunMessage] = []
        rows: list[Row] = [run, *self.stages]
        self._loaded = [(row, vars(row).copy()) for row in rows if not is_new(row)]

    def add_loaded_share(self, stage: Stage, share: WorkerShare) -> None:
        self.shares[stage.name, share.worker] = share
        self._loaded.append((share, vars(share).copy()))

    def add_loaded_member(self, member: RunMember) -> None:
        self.members[member.worker] = member
        self._loaded.append((member, vars(member).copy()))

    def loaded_value(self, name: str) -> Any:
        """Return what a column of the run was when it was loaded; None of a run that is new."""
        return next((loaded[name] for row, loaded in self._loaded if row is self.run), None)

    def bump_version_if_visible(self) -> bool:
        """Raise the dataset's version by one, if watchers see a difference. Returns whether they do."""
        if not self._is_visibly_changed():
            return False
        self.head.version += 1
        self.head.run = self.run
        self.run.updated_at = self.now
        for move in self.new_transitions:
            move.version = self.head.version
        return True

    def _is_visibly_changed(self) -> bool:
        return (
            bool(self.new_transitions)
            or any(
                value != loaded[name] and name not in _UNVERSIONED_FIELDS
                for row, loaded in self._loaded
                if not isinstance(row, WorkerShare | RunMember)
                for name, value in vars(row).items()
            )
            or any(is_new(stage) for stage in self.stages)
        )

    def is_listed_anew(self, seconds: int) -> bool:
        """Whether the list has to know of this change: of another state, or after ``seconds`` of the same."""
        before = next((loaded for row, loaded in self._loaded if row is self.run), None)
        if before is None or before["state"] != self.run.state:
            return True
        return bool(before["updated_at"].timestamp() // seconds != self.run.updated_at.timestamp() // seconds)

    def changed_rows(self) -> Iterator[ChangedRow]:
        """Yield the loaded rows that differ from what was loaded."""
        for row, loaded in self._loaded:
            if fields := frozenset(name for name, value in vars(row).items() if value != loaded[name]):
                yield ChangedRow(row, fields, loaded)

    def kept_messages(self) -> list[RunMessage]:
        """Return the new messages that no newer one replaces. Call it once the run has a row."""
        kept = self.new_messages[-RunMessage.KEPT :]
        for message in kept:
            message.run_id = self.run.pk
        return kept

    @contextmanager
    def undo_if_refused(self, worker: str | None) -> Iterator[None]:
        """Undo what the block did if it raises. Of the shares, the block may change those of ``worker``."""
        shares = [self.shares.get((stage.name, worker)) for stage in self.stages] if worker else []
        changing = (self.run, *self.stages, *self.members.values(), *shares)
        rows = [(row, vars(row).copy()) for row in changing if row is not None]
        counts = len(self.stages), len(self.new_transitions), len(self.shares), len(self.new_failures)
        unlisted, flags = self.new_unlisted.copy(), (self.silent_seconds, self.has_new_plan)
        message_count = len(self.new_messages)
        try:
            yield
        except Exception:
            for row, values in rows:
                vars(row).update(values)
            stage_count, transition_count, share_count, failure_count = counts
            del self.stages[stage_count:], self.new_transitions[transition_count:]
            del self.new_messages[message_count:]
            for key in list(self.shares)[share_count:]:
                del self.shares[key]
            for key in list(self.new_failures)[failure_count:]:
                del self.new_failures[key]
            self.new_unlisted, (self.silent_seconds, self.has_new_plan) = unlisted, flags
            raise
