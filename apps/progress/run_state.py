"""The rules by which a run changes, applied to rows in memory. No SQL: `store` loads the rows and flushes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import BigIntegerField

from apps.core.text import ERROR_LENGTH, MESSAGE_LENGTH, REASON_LENGTH, clean_item_name, clean_text

from . import percentage, stage_clock, workers
from .errors import LimitReached
from .loaded_run import LoadedRun
from .models import Head, ItemFailure, Retry, Run, RunMessage, Stage, Transition, WorkerShare
from .origin import NAME_LENGTH, NO_ORIGIN, Origin
from .transitions import FINISHED, StageState, State, check_move, check_stage_move

MAX_STORED_COUNT: Final = BigIntegerField.MAX_BIGINT
MAX_STAGES: Final = 64
MAX_WORKERS: Final = 1_000_000


def check_counts(*counts: int | None) -> None:
    """Raise `ValueError` unless every count that is given can be stored."""
    if not all(count is None or 0 <= count <= MAX_STORED_COUNT for count in counts):
        raise ValueError(f"A count is a number from 0 to {MAX_STORED_COUNT}.")


class RunState(LoadedRun):
    """A run in memory, with the methods that change its rows. `LoadedRun` says what has to be written then."""

    @classmethod
    def begin(
        cls, head: Head, number: int, now: datetime, *, message: str = "", idempotency_key: str = "",
        learned: Sequence[dict[str, Any]] = (), origin: Origin = NO_ORIGIN,
    ) -> RunState:  # fmt: skip
        """Begin run ``number`` of a dataset: pending, without stages. ``learned``: of earlier runs, see `history`."""
        run = Run(
            dataset_id=head.pk, number=number, idempotency_key=idempotency_key, learned=list(learned),
            created_at=now, updated_at=now, **origin.columns(),
        )  # fmt: skip
        state = cls(head, run, [], now)
        state.set_message(message)
        note = ""
        if head.retry:
            run.retry = head.retry
            what = "what failed" if head.retry == Retry.FAILED else "everything"
            note = f"again, {what}, as {head.retry_by} asked" if head.retry_by else f"again, {what}"
            state.clear_retry()
        state._record("", "", State.PENDING, note)
        return state

    # --- What people ask of it ----------------------------------------------------------------------------------------

    def ask_retry(self, what: Retry, by: str) -> None:
        """Ask whoever makes the next run to do this again. The run is over."""
        self.head.retry, self.head.retry_by, self.head.retry_at = what, clean_text(by, NAME_LENGTH), self.now
        self.retry_changed = True
        self._record("", self.run.state, "retry", f"{what} {by}".strip())

    def clear_retry(self) -> None:
        """Take back what was asked of the next run, or give it to the run that begins."""
        self.head.retry, self.head.retry_by, self.head.retry_at = "", "", None
        self.retry_changed = True

    def withdraw_retry(self, by: str) -> None:
        """Take back what was asked of the next run."""
        self.clear_retry()
        self._record("", "retry", self.run.state, by)

    def note_skip(self, why: str) -> None:
        """Note that a run which was due is skipped, because this one goes on."""
        self._record("", self.run.state, "skipped", why)

    def acknowledge(self, *, is_new: bool = False) -> None:
        """Note that the reporter is told now what it was asked, unless it was told before and is not a new one."""
        if self.run.control_at is not None and (is_new or self.run.control_seen_at is None):
            self.run.control_seen_at = self.now

    # --- The run ------------------------------------------------------------------------------------------------------

    def set_message(self, message: str | None) -> None:
        """Set the message for people; None leaves it. One that is new is kept with its time."""
        if message is None:
            return
        text = clean_text(message, MESSAGE_LENGTH)
        if text and text != self.run.message:
            slot, number = self.run.message_count % RunMessage.KEPT, self.run.message_count
            self.new_messages.append(RunMessage(run=self.run, slot=slot, number=number, text=text, at=self.now))
            self.run.message_count += 1
        self.run.message = text

    def note_heartbeat(self, *, progressed: bool = False, is_new: bool = False) -> None:
        """Note that the reporter was heard; with ``progressed`` also that the work goes on.

        ``is_new``: another reporter than before, so the time since the last sign is not usual for either.
        """
        if (stage := self.active_stage()) is not None and self.run.heartbeat_at != self.now:
            self.silent_seconds += stage_clock.leave_out_silence(self.run, stage, self.now)
        if not is_new:
            stage_clock.note_sign(self.run, self.now)
        self.run.heartbeat_at = self.now
        self.run.lost_at = None
        if progressed:
            self.run.progressed_at = self.now

    def request(self, control: Run.Control, by: str) -> None:
        """Ask the reporter to run, pause or cancel; it learns of it with the answer to its next report.

        ``by``: who asks.
        """
        if (stage := self.active_stage()) is not None:
            stage_clock.advance(self.run, stage, self.now)
        if self.run.control == Run.Control.PAUSE:
            # A paused run is not stalled: restart its time without progress.
            self.run.progressed_at = self.run.asked_at = self.now
        self._record("", self.run.control, control, by)
        self.run.control = control
        self.run.control_by = clean_text(by, NAME_LENGTH)
        self.run.control_at, self.run.control_seen_at = self.now, None

    def finish(self) -> None:
        """End the run as ready: the active stage is done, those that never began are skipped."""
        for stage in self.stages:
            if stage.state == StageState.ACTIVE:
                self.move_stage(stage, StageState.DONE)
            elif stage.state == StageState.WAITING:
                self.move_stage(stage, StageState.SKIPPED)
        self.run.percent = 100.0
        self._end(State.READY)

    def fail(self, error: str, note: str = "") -> None:
        """End the run in error: the active stage has failed and keeps its count.

        ``note``: what those who may steer the dataset see beside the error.
        """
        self.run.error = clean_text(error, ERROR_LENGTH) or "Failed, and no reason was given."
        self._end_active_stage(StageState.FAILED)
        self._end(State.ERROR, note=note or error)

    def cancel(self, error: str = "Cancelled.", note: str = "") -> None:
        """End the run in error, marked as cancelled: the active stage is skipped and keeps its count.

        ``note``: default: who asked for it.
        """
        self.run.cancelled = True
        if not note:
            asked = self.run.control == Run.Control.CANCEL and self.run.control_by
            note = f"cancelled by {asked}" if asked else "cancelled"
        self.run.error = error
        self._end_active_stage(StageState.SKIPPED)
        self._end(State.ERROR, note=note)

    def end_as_lost(self, silence: str, after: str) -> None:
        """End a run in error of whose reporter nothing was heard for ``silence``, until it is heard again.

        ``after``: the setting that says so, in words.
        """
        self.run.lost_in = self.run.state
        if (stage := self.active_stage()) is not None:
            stage_clock.leave_out_silence(self.run, stage, self.now)
        error = f"No contact for {silence}, so it was ended ({after}). It goes on if its reporter comes back."
        self.fail(error, note="ended as lost")

    def take_back_end(self) -> None:
        """Let a run go on that was ended as lost: its reporter was heard."""
        run = self.run
        old, run.state = run.state, run.lost_in
        run.lost_in, run.error, run.finished_at = "", "", None
        for stage in self.stages:
            if stage.state == StageState.FAILED:
                stage.state, stage.finished_at = StageState.ACTIVE.value, None
        self._record("", old, run.state, "heard again")

    def move(self, new: State, note: str = "") -> None:
        """Move the run to another state. Raises `IllegalTransition`."""
        old = State(self.run.state)
        if old == new:
            return
        check_move(old, new)
        self.run.state = new.value
        if old == State.PENDING:
            self.run.started_at = self.now
        if new in FINISHED:
            self.run.finished_at = self.now
        self._record("", old, new, note)

    def _end(self, state: State, note: str = "") -> None:
        self.move(state, note)
        self.note_heartbeat()
        self.run.control = Run.Control.RUN

    def _record(self, stage: str, old: str, new: str, note: str = "") -> None:
        note = clean_text(note, REASON_LENGTH)
        self.new_transitions.append(
            Transition(run=self.run, stage=stage, old=str(old), new=str(new), note=note, at=self.now)
        )

    # --- Its stages ---------------------------------------------------------------------------------------------------

    def stage_named(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def active_stage(self) -> Stage | None:
        return next((stage for stage in self.stages if stage.state == StageState.ACTIVE), None)

    def add_stage(self, name: str, counts_as: State, *, total: int = 0, **values: Any) -> Stage:
        """Add a waiting stage of ``total`` items behind all others. Raises `LimitReached`.

        ``values``: label, unit, weight, is_planned.
        """
        if len(self.stages) >= MAX_STAGES:
            raise LimitReached(f"A run may have {MAX_STAGES} stages.")
        position = self.stages[-1].position + 1 if self.stages else 0
        stage = Stage(
            run=self.run, position=position, name=name, counts_as=counts_as.value,
            total=total, planned=total, **values,
        )  # fmt: skip
        self.stages.append(stage)
        return stage

    def describe(self, stage: Stage, label: str | None, unit: str | None) -> None:
        """Set how a stage and its counts are shown; None leaves one."""
        stage.label = stage.label if label is None else label
        stage.unit = unit or stage.unit

    def start_stage(self, stage: Stage) -> None:
        """Make ``stage`` the active one; the one before it is done. Raises `IllegalTransition` for one that is over."""
        if stage.state != StageState.ACTIVE:
            check_stage_move(StageState(stage.state), StageState.ACTIVE)
            self._end_active_stage(StageState.DONE)
            self.move_stage(stage, StageState.ACTIVE)
            self.has_new_plan |= not (stage.is_planned or stage.name in (each["name"] for each in self.run.plan))
            self.grow_percent()
        self.move(State(stage.counts_as))

    def close_if_passed(self, stage: Stage) -> bool:
        """Mark a waiting stage as done if a later one is active. Returns whether the stage is done."""
        active = self.active_stage()
        if stage.state == StageState.WAITING and active is not None and stage.position < active.position:
            self.move_stage(stage, StageState.DONE)
        return stage.state == StageState.DONE

    def move_stage(self, stage: Stage, new: StageState) -> None:
        """Move a stage to another state. Of one that is done, the count is the total. Raises `IllegalTransition`."""
        old = StageState(stage.state)
        if old == new:
            return
        check_stage_move(old, new)
        if old == StageState.ACTIVE:
            stage_clock.close(self.run, stage, self.now)
        stage.state = new.value
        if new == StageState.ACTIVE:
            stage.started_at = self.now
        else:
            stage.finished_at = self.now
        if new == StageState.DONE:
            stage.total = stage.current
        self._record(stage.name, old, new)

    def _end_active_stage(self, state: StageState) -> None:
        if (stage := self.active_stage()) is not None:
            self.move_stage(stage, state)

    # --- Counts -------------------------------------------------------------------------------------------------------

    def set_counts(self, stage: Stage, current: int | None, total: int | None) -> None:
        """Set a stage's count, and the total that is planned; None leaves one. A total below the count is raised to it.

        The total of a stage that is done is its count, and stays so.
        """
        before = stage.current, stage.planned
        current = stage.current if current is None else max(current, stage.shared)
        planned = stage.planned if total is None else total
        if planned:
            planned = max(planned, current)
        if current > stage.current:
            if not self.silent_seconds:
                stage_clock.note_gap(self.run, stage, self.now)
            self.note_heartbeat(progressed=True)
        if stage.state == StageState.ACTIVE and ((current, planned) != before or not stage.readings):
            stage_clock.read(self.run, stage, self.now, current, planned, self.silent_seconds)
            self.silent_seconds = 0.0
        if (current, planned) == before:
            return
        stage.current, stage.planned = current, planned
        stage.total = current if stage.state == StageState.DONE else planned
        self.grow_percent()

    def grow_percent(self) -> None:
        """Raise the overall percentage to what the stages make, unless the run is over. None: the plan is not known."""
        run = self.run
        if run.state in FINISHED:
            return
        parts = percentage.parts_of(self.stages, run.plan)
        anchor = percentage.Anchor(run.plan_percent, run.plan_share)
        run.percent = None if parts is None else percentage.overall_percent(parts, run.percent or 0.0, anchor)

    def change_plan(self, learned: list[percentage.Expected] | None = None) -> None:
        """Let the percentage go on from where it stands, because the plan has changed: to ``learned``, if given."""
        run = self.run
        run.plan = run.plan if learned is None else learned
        run.plan_percent, run.plan_share = 0.0, 0.0
        parts = percentage.parts_of(self.stages, run.plan)
        if run.percent is not None and parts is not None and (share := percentage.share_done(parts)) < run.percent:
            run.plan_percent, run.plan_share = run.percent, share
        self.grow_percent()

    def count_unshared(self, stage: Stage, current: int | None, total: int | None) -> None:
        """Set what a reporter without a worker's name has done of a stage. It counts beside the workers' shares."""
        self.set_counts(
            stage,
            None if current is None else stage.shared + current,
            None if total is None else max(total, stage.shared_total),
        )

    def grow_failed_and_skipped(self, failed: int | None, skipped: int | None) -> None:
        """Raise the run's counts of failed and skipped items to these; None leaves one. They never fall."""
        self.run.failed = max(self.run.failed, failed or 0)
        self.run.skipped = max(self.run.skipped, skipped or 0)

    def grow_share(
        self, stage: Stage, worker: str, *, current: int | None, total: int | None, failed: int | None,
        skipped: int | None,
    ) -> None:  # fmt: skip
        """Raise a worker's share of a stage to these counts, and the stage and the run by as much. A count that is None
        or lower stays. Raises `LimitReached`, with the rows half changed: call it within `undo_if_refused`.
        """
        share = self.shares.get((stage.name, worker))
        if share is None:
            if stage.workers >= MAX_WORKERS:
                raise LimitReached(f"A stage may have {MAX_WORKERS} workers.")
            share = self.shares[stage.name, worker] = WorkerShare(stage=stage, worker=worker)
            stage.workers += 1
        before, was_done = workers.sign_step_of(share), workers.is_done(share)
        more_current = max((current or 0) - share.current, 0)
        more_total = max((total or 0) - share.total, 0)
        more_failed = max((failed or 0) - share.failed, 0)
        more_skipped = max((skipped or 0) - share.skipped, 0)
        share.current += more_current
        share.total += more_total
        share.failed += more_failed
        share.skipped += more_skipped
        workers.note_sign(share, self.now, more_current)
        workers.count(stage, share, before, was_done=was_done)
        self.run.failed += more_failed
        self.run.skipped += more_skipped
        if more_current or more_total:
            self._grow_shared(stage, more_current, more_total)

    def has_share(self, worker: str | None) -> bool:
        """Whether a worker has a share of a stage, of those that were loaded."""
        return worker is not None and any((stage.name, worker) in self.shares for stage in self.stages)

    def hear_worker(self, worker: str, *, leaves: bool = False) -> None:
        """Note that a worker was heard that has a share of the stage under way. ``leaves``: it will do no more."""
        for stage in self.stages:
            share = self.shares.get((stage.name, worker))
            if share is None or stage.state != StageState.ACTIVE:
                continue
            before, was_done = workers.sign_step_of(share), workers.is_done(share)
            workers.note_sign(share, self.now)
            share.left_at = self.now if leaves else share.left_at
            workers.count(stage, share, before, was_done=was_done)

    def _grow_shared(self, stage: Stage, current: int, total: int) -> None:
        stage.shared += current
        stage.shared_total += total
        self.set_counts(stage, stage.current + current, max(stage.planned, stage.shared_total))

    def check_sums(self) -> None:
        """Raise `LimitReached` if a count has become higher than the database can store."""
        counts = [self.run.failed, self.run.skipped]
        for stage in self.stages:
            counts += stage.current, stage.planned, stage.shared, stage.shared_total
        if max(counts) > MAX_STORED_COUNT:
            raise LimitReached(f"With this report, a count would be higher than {MAX_STORED_COUNT}.")

    # --- Failed items -------------------------------------------------------------------------------------------------

    def list_failures(self, stage: str, failures: Iterable[tuple[str, str]]) -> int:
        """Take in items that could not be processed, each (item, reason). Returns how many were not listed before.

        The first ``MOST_FAILURES`` of a run are listed. The others are counted by reason.
        """
        new = {(stage, clean_item_name(item)): clean_text(reason, REASON_LENGTH) for item, reason in failures}
        for key in new.keys() & (self.listed_failures | self.new_failures.keys()):
            del new[key]
        for (_, item), reason in new.items():
            if self.run.failures_listed < settings.MOST_FAILURES:
                self.run.failures_listed += 1
                self.new_failures[stage, item] = ItemFailure(
                    run=self.run, stage=stage, item=item, reason=reason, at=self.now
                )
            else:
                self.new_unlisted[stage, reason] += 1
        return len(new)
