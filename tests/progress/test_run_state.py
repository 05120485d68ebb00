"""The rules of a run, on rows in memory: no test here has a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.progress.errors import IllegalTransition, LimitReached, RunFinished, UnknownRun
from apps.progress.models import Head, Run, Stage, WorkerShare
from apps.progress.reports import MAX_COUNT, Report, apply_report
from apps.progress.run_state import MAX_STAGES, MAX_STORED_COUNT, MAX_WORKERS, RunState, check_counts
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import StageState, State

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def loaded(model: type[Any], **values: Any) -> Any:
    """A row as it comes from the database."""
    row = model(**values)
    row._state.adding = False
    return row


def run_state(*stages: dict[str, Any], now: datetime = T0, **run: Any) -> RunState:
    """A loaded run, working where one of its stages is active; else pending."""
    active = next((stage for stage in stages if stage.get("state") == "active"), None)
    working = active.get("counts_as", "indexing") if active else "pending"
    values = {"id": 1, "number": 1, "dataset_id": 7, "state": working, "created_at": T0, "updated_at": T0}
    row = loaded(Run, **(values | run))
    rows = [
        loaded(Stage, id=position + 1, run=row, position=position, total=stage.get("planned", 0), **stage)
        for position, stage in enumerate(stages)
    ]
    return RunState(loaded(Head, dataset_id=7, version=4, run=row), row, rows, now)


def index(**values: Any) -> dict[str, Any]:
    return {
        "name": "index", "state": "active", "planned": 100, "started_at": T0, "readings": [[0.0, 0]],
        "is_planned": True, **values,
    }  # fmt: skip


def embed(**values: Any) -> dict[str, Any]:
    return {"name": "embed", "counts_as": "embedding", "planned": 100, "weight": 3.0, "is_planned": True, **values}


def stages_of(state: RunState) -> list[tuple[str, str, int, int]]:
    return [(stage.name, stage.state, stage.current, stage.total) for stage in state.stages]


def moves_of(state: RunState) -> list[tuple[str, str, str]]:
    return [(move.stage, move.old, move.new) for move in state.new_transitions]


def changes_of(state: RunState) -> dict[str, set[str]]:
    return {type(row).__name__: set(fields) for row, fields, _ in state.changed_rows()}


# --- Runs -----------------------------------------------------------------------------------------------------------


def test_a_run_begins_pending_and_new() -> None:
    state = RunState.begin(Head(dataset_id=7), 3, T0, message="Queued", idempotency_key="job")
    assert (state.run.number, state.run.state, state.run.message, state.run.idempotency_key) == (
        3, "pending", "Queued", "job",
    )  # fmt: skip
    assert moves_of(state) == [("", "", "pending")]
    assert list(state.changed_rows()) == []  # it is inserted whole


def test_finishing_ends_the_active_stage_at_its_count_and_skips_those_that_wait() -> None:
    state = run_state(index(current=97), embed())
    state.finish()
    assert stages_of(state) == [("index", "done", 97, 97), ("embed", "skipped", 0, 100)]
    assert [stage.planned for stage in state.stages] == [100, 100]
    assert (state.run.state, state.run.percent, state.run.finished_at) == ("ready", 100.0, T0)


@pytest.mark.parametrize(("end", "stage"), [("fail", "failed"), ("cancel", "skipped")])
def test_an_end_in_error_keeps_the_count(end: str, stage: str) -> None:
    state = run_state(index(current=60), embed())
    state.fail("disk full") if end == "fail" else state.cancel()
    assert stages_of(state)[0] == ("index", stage, 60, 100)
    assert (state.run.state, state.run.cancelled) == ("error", end == "cancel")
    assert state.run.error == ("disk full" if end == "fail" else "Cancelled.")


def test_a_run_that_is_over_cannot_be_moved() -> None:
    state = run_state(index(state="done"), state="ready")
    with pytest.raises(IllegalTransition, match="ready cannot become error"):
        state.fail("too late")


def test_a_request_after_a_pause_counts_the_time_without_progress_from_now() -> None:
    state = run_state(index(), control="pause", progressed_at=T0 - timedelta(hours=1))
    state.request(Run.Control.RUN, "by ann")
    assert (state.run.control, state.run.progressed_at) == ("run", T0)
    assert moves_of(state) == [("", "pause", "run")]


# --- Stages ---------------------------------------------------------------------------------------------------------


def test_starting_a_stage_ends_the_one_before_it_and_moves_the_run() -> None:
    state = run_state(index(current=40), embed())
    state.start_stage(state.stages[1])
    assert stages_of(state) == [("index", "done", 40, 40), ("embed", "active", 0, 100)]
    assert moves_of(state) == [
        ("index", "active", "done"), ("embed", "waiting", "active"), ("", "indexing", "embedding"),
    ]  # fmt: skip


def test_starting_a_stage_that_is_over_is_refused_before_anything_changes() -> None:
    state = run_state(index(state="done", current=100), embed(state="active"))
    with pytest.raises(IllegalTransition):
        state.start_stage(state.stages[0])
    assert changes_of(state) == {}


def test_a_waiting_stage_is_closed_if_a_later_one_is_active() -> None:
    state = run_state(index(state="waiting"), embed(state="active"), {"name": "sort"})
    assert state.close_if_passed(state.stages[0])
    assert stages_of(state)[0] == ("index", "done", 0, 0)
    assert not state.close_if_passed(state.stages[2])
    assert not state.close_if_passed(state.stages[1])


def test_a_run_has_so_many_stages_and_no_more() -> None:
    state = run_state()
    for number in range(MAX_STAGES):
        assert state.add_stage(f"s{number}", State.INDEXING).position == number
    with pytest.raises(LimitReached):
        state.add_stage("one more", State.INDEXING)


# --- Counts ---------------------------------------------------------------------------------------------------------


def test_counts_are_absolute_and_a_total_below_the_count_is_raised() -> None:
    state = run_state(index())
    state.set_counts(state.stages[0], 130, None)
    assert stages_of(state) == [("index", "active", 130, 130)]
    state.set_counts(state.stages[0], 20, 0)
    assert stages_of(state) == [("index", "active", 20, 0)]  # not known yet


def test_the_percentage_is_weighted_and_never_falls() -> None:
    state = run_state(index(), embed())
    state.set_counts(state.stages[0], 80, None)
    assert state.run.percent == 20.0
    state.set_counts(state.stages[0], 10, 1000)
    assert state.run.percent == 20.0


def test_a_count_that_grows_is_progress_and_one_that_stays_is_none() -> None:
    state = run_state(index(current=5))
    state.set_counts(state.stages[0], 5, 100)
    assert changes_of(state) == {}
    state.set_counts(state.stages[0], 6, None)
    assert (state.run.heartbeat_at, state.run.progressed_at) == (T0, T0)


def test_a_share_grows_by_what_is_new_and_never_falls() -> None:
    state = run_state(index(planned=0))
    for worker, current in (("a", 10), ("b", 20), ("a", 10), ("a", 4)):
        state.grow_share(state.stages[0], worker, current=current, total=50, failed=current // 10, skipped=None)
    stage = state.stages[0]
    assert (stage.current, stage.total, stage.shared, stage.shared_total, stage.workers) == (30, 100, 30, 100, 2)
    assert state.run.failed == 3
    state.count_unshared(stage, 5, 70)
    assert (stage.current, stage.total) == (35, 100)  # beside the shares


def test_a_late_share_makes_a_stage_that_is_done_larger() -> None:
    state = run_state(index(state="done", current=10, planned=10, shared=10, shared_total=10), embed(state="active"))
    state.grow_share(state.stages[0], "b", current=5, total=50, failed=0, skipped=0)
    assert stages_of(state)[0] == ("index", "done", 15, 15)
    assert state.stages[0].planned == 60


@pytest.mark.parametrize(
    ("stage", "run"),
    [({"workers": MAX_WORKERS}, {}), ({"shared_total": MAX_STORED_COUNT}, {}), ({}, {"failed": MAX_STORED_COUNT})],
)
def test_a_share_that_cannot_be_counted_is_refused_whole(stage: dict[str, Any], run: dict[str, Any]) -> None:
    state = run_state(index(**stage), embed(), **run)
    with pytest.raises(LimitReached):
        apply_report(state, Report(worker="a", current=1, total=MAX_COUNT, failed=1))
    assert (changes_of(state), state.shares, state.new_transitions) == ({}, {}, [])


@pytest.mark.parametrize("count", [-1, MAX_STORED_COUNT + 1])
def test_a_count_that_cannot_be_stored_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="A count is a number from 0"):
        check_counts(None, 5, count)


def test_failures_are_new_once() -> None:
    state = run_state(index())
    state.listed_failures.add(("index", "a.jpg"))
    assert state.list_failures("index", [("a.jpg", ""), ("b.jpg", "truncated"), ("b.jpg", "truncated")]) == 1
    assert state.list_failures("index", [("b.jpg", "")]) == 0
    assert state.list_failures("embed", [("a.jpg", "")]) == 1
    assert list(state.new_failures) == [("index", "b.jpg"), ("embed", "a.jpg")]


# --- Versions -------------------------------------------------------------------------------------------------------


def test_a_sign_of_life_alone_is_written_and_makes_no_version() -> None:
    state = run_state(index(), now=T0 + timedelta(seconds=1))
    state.note_heartbeat(progressed=True)
    assert not state.bump_version_if_visible()
    assert changes_of(state) == {"Run": {"heartbeat_at", "progressed_at"}}
    assert state.head.version == 4


def test_what_watchers_see_makes_one_version() -> None:
    state = run_state(index(current=5), now=T0 + timedelta(seconds=1))
    state.set_counts(state.stages[0], 6, None)
    state.set_message("6 of 100")
    state.start_stage(state.add_stage("sort", State.INDEXING))
    assert state.bump_version_if_visible()
    assert (state.head.version, state.run.updated_at) == (5, T0 + timedelta(seconds=1))
    assert {move.version for move in state.new_transitions} == {5}


def test_what_is_set_to_what_it_was_is_no_change() -> None:
    state = run_state(index(), message="half")
    state.set_message("other")
    state.set_message("half")
    assert not state.bump_version_if_visible()
    assert changes_of(state) == {"Run": {"message_count"}}  # both were said, and are kept


def test_changes_carry_what_was_loaded() -> None:
    state = run_state(index())
    state.move_stage(state.stages[0], StageState.DONE)
    [(row, fields, before)] = state.changed_rows()
    assert row is state.stages[0]
    assert fields == {"state", "total", "finished_at", "worked_until"}
    assert before["state"] == "active"


@pytest.mark.parametrize("name", sorted(DatasetProgress.model_fields.keys() & vars(Run()).keys()))
def test_a_stored_field_that_is_shown_makes_a_version(name: str) -> None:
    """One that fails here is a new field of `DatasetProgress` which is among the hidden ones of `loaded_run`."""
    state = run_state(index())
    setattr(state.run, name, "another value")
    assert state.bump_version_if_visible()


# --- Reports --------------------------------------------------------------------------------------------------------


def test_a_report_starts_the_stage_that_it_names_or_a_new_one() -> None:
    state = run_state(index(state="waiting"), embed())
    apply_report(state, Report(current=4))
    apply_report(state, Report(state=State.EMBEDDING, current=1))
    apply_report(state, Report(stage="Sort", current=2))
    assert stages_of(state) == [
        ("index", "done", 4, 4), ("embed", "done", 1, 1), ("Sort", "active", 2, 0),
    ]  # fmt: skip
    assert state.stages[2].label == "Sort"


def test_a_report_of_the_run_before_is_refused_and_of_one_to_come_too() -> None:
    state = run_state(index(), number=3)
    with pytest.raises(RunFinished, match="Run 2 is over; the latest is run 3"):
        apply_report(state, Report(run=2, current=1))
    with pytest.raises(UnknownRun):
        apply_report(state, Report(run=4, current=1))
    assert changes_of(state) == {}


def test_a_refused_report_restores_rows_shares_and_lists() -> None:
    state = run_state(index(current=5, shared=5), embed())
    share = loaded(WorkerShare, id=1, stage=state.stages[0], worker="a", current=5)
    state.add_loaded_share(state.stages[0], share)

    def change_everything() -> None:
        with state.undo_if_refused("a"):
            state.grow_share(state.stages[0], "a", current=9, total=0, failed=0, skipped=0)
            state.list_failures("index", [("a.jpg", "")])
            state.start_stage(state.add_stage("sort", State.INDEXING))
            state.grow_share(state.stages[2], "a", current=1, total=0, failed=0, skipped=0)
            raise LimitReached

    with pytest.raises(LimitReached):
        change_everything()
    assert changes_of(state) == {}
    assert (share.current, list(state.shares), state.new_failures, state.new_transitions, len(state.stages)) == (
        5, [("index", "a")], {}, [], 2,
    )  # fmt: skip


def test_a_reporter_that_was_asked_to_cancel_ends_cancelled_whatever_it_says() -> None:
    state = run_state(index(), control="cancel")
    apply_report(state, Report(error="interrupted"))
    assert (state.run.state, state.run.cancelled, state.run.control) == ("error", True, "run")
