"""Programs that share a run: it ends when the last of them has left, whatever the order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations, product

import pytest
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.progress import members, services
from apps.progress.errors import LimitReached, NotJoined
from apps.progress.models import Head, Run, RunMember
from apps.progress.reports import Report, apply_report
from apps.progress.run_state import RunState
from apps.progress.services import Begun, StagePlan
from apps.progress.transitions import State

from .helpers import heard_of, refused, say, shown

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOST = timedelta(seconds=121)

# How a member ends: ready, with an error, or without a word.
READY, FAILED, SILENT = "ready", "failed", "silent"
ENDS = {READY: State.READY, FAILED: State.ERROR}


def joined(dataset: Dataset, worker: str, *stages: str) -> Begun:
    return services.begin_or_find_run(dataset, [StagePlan(name) for name in stages], join_as=worker)


def shared_by(names: str) -> RunState:
    state = RunState.begin(Head(dataset_id=7), 1, T0)
    for name in names:
        members.join(state, name)
    return state


# --- The rule, without a database ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3])
def test_the_last_that_leaves_ends_it_and_the_first_that_failed_says_why(size: int) -> None:
    names = "abc"[:size]
    for order, ends in product(permutations(names), product([READY, FAILED, SILENT], repeat=size)):
        state = shared_by(names)
        spoken = [(name, end) for name, end in zip(order, ends, strict=True) if end != SILENT]
        state.now += LOST
        for name, _ in spoken:  # they are heard, and the silent are not
            apply_report(state, Report(worker=name))
        for step, (name, end) in enumerate(spoken):
            state.now += timedelta(seconds=1)
            for _ in range(2):  # again, because the first answer was lost
                apply_report(state, Report(worker=name, leave=True, message=f"{name} failed", state=ENDS[end]))
            is_last = step == len(spoken) - 1
            assert state.run.is_finished == is_last, (order, ends)
        if spoken:
            failed = [name for name, end in spoken if end == FAILED]
            error = f"{failed[0]} failed" if failed else ""
            assert (state.run.state, state.run.error) == ("error" if failed else "ready", error), (order, ends)


def test_a_member_that_is_heard_again_is_back() -> None:
    state = shared_by("ab")
    state.now += LOST
    apply_report(state, Report(worker="a"))
    apply_report(state, Report(worker="b"))
    apply_report(state, Report(worker="a", leave=True))
    assert not state.run.is_finished
    apply_report(state, Report(worker="b", leave=True))
    assert state.run.state == "ready"


def test_one_that_joins_again_has_not_left() -> None:
    state = shared_by("ab")
    apply_report(state, Report(worker="a", error="disk full", leave=True))
    members.join(state, "a")
    apply_report(state, Report(worker="b", leave=True))
    assert not state.run.is_finished
    apply_report(state, Report(worker="a", leave=True))
    assert state.run.state == "ready"


def test_members_that_stop_because_they_were_asked_to_are_cancelled() -> None:
    state = shared_by("a")
    state.request(Run.Control.CANCEL, "by ann")
    apply_report(state, Report(worker="a", error="KeyboardInterrupt", leave=True))
    assert (state.run.state, state.run.cancelled) == ("error", True)


def test_a_sign_of_life_of_a_member_starts_no_stage() -> None:
    state = shared_by("a")
    apply_report(state, Report(worker="a"))
    assert (state.stages, state.run.state) == ([], "pending")
    apply_report(state, Report(worker="a", current=3))
    assert (state.stages[0].current, state.run.state) == (3, "indexing")


def test_a_run_has_so_many_members_and_no_more() -> None:
    state = shared_by("")
    for number in range(members.MAX_RUN_MEMBERS):
        members.join(state, f"w{number}")
    members.join(state, "w0")
    with pytest.raises(LimitReached):
        members.join(state, "one more")


# --- In the database -------------------------------------------------------------------------------------------------


def test_whoever_finds_a_run_alive_joins_it_with_its_stages(dataset: Dataset) -> None:
    first, second = joined(dataset, "a", "load", "encode"), joined(dataset, "b", "encode", "sort")
    assert (first.is_new, first.joined, second.is_new, second.joined) == (True, False, False, True)
    assert second.run == first.run
    assert [stage.name for stage in shown(dataset).stages] == ["load", "encode", "sort"]
    say(dataset, worker="a", stage="encode", current=5)
    say(dataset, worker="b", stage="encode", current=7)
    say(dataset, worker="a", run=1, state=State.READY, leave=True)
    assert (shown(dataset).state, shown(dataset).current) == ("indexing", 12)
    say(dataset, worker="b", run=1, state=State.READY, leave=True)
    assert (shown(dataset).state, shown(dataset).current) == ("ready", 12)
    say(dataset, worker="b", run=1, state=State.READY, leave=True)  # again
    assert list(RunMember.objects.filter(left_at=None)) == []


def test_a_run_that_nobody_reports_any_more_is_followed_by_the_next(dataset: Dataset) -> None:
    old = joined(dataset, "a", "load").run
    heard_of(old, seconds_ago=100)
    assert joined(dataset, "b").joined
    heard_of(old, seconds_ago=121)
    assert joined(dataset, "c").is_new
    old.refresh_from_db()
    assert (old.state, old.error, old.cancelled) == ("error", "Nobody reported it any more.", False)
    assert shown(dataset).run == 2


def test_a_run_that_waits_to_begin_is_joined_and_is_not_ended_by_those_who_leave(dataset: Dataset) -> None:
    queued = services.begin_run(dataset, [StagePlan("index")])
    Run.objects.filter(pk=queued.pk).update(
        created_at=timezone.now() - timedelta(hours=3), updated_at=timezone.now() - timedelta(hours=3)
    )
    assert joined(dataset, "a").joined
    say(dataset, worker="a", stage="load", current=5)
    say(dataset, worker="a", run=1, state=State.READY, leave=True)
    assert shown(dataset).state == "indexing"
    assert services.start_stage(queued.pk, "index", total=3).number == 1


def test_programs_with_a_key_share_its_run_however_long_it_was_silent(dataset: Dataset) -> None:
    def begin(worker: str) -> Begun:
        return services.begin_or_find_run(dataset, idempotency_key="job", join_as=worker)

    run = begin("a").run
    heard_of(run, seconds_ago=1000)
    assert begin("b") == Begun(run, is_new=False, joined=True)
    services.finish(run.pk)
    assert begin("c") == Begun(run, is_new=False, joined=False)


@pytest.mark.parametrize("sign_of_life", [services.heartbeat, lambda pk: services.report(pk, message="Still here.")])
def test_who_began_without_joining_is_a_member_without_a_name(
    dataset: Dataset, sign_of_life: Callable[[int], object]
) -> None:
    run = services.begin_run(dataset)
    say(dataset, current=1)
    joined(dataset, "b")
    say(dataset, worker="b", leave=True)
    assert shown(dataset).state == "indexing"
    joined(dataset, "b")
    RunMember.objects.filter(worker="").update(joined_at=run.created_at - 3 * LOST, heard_at=run.created_at - 2 * LOST)
    sign_of_life(run.pk)
    say(dataset, worker="b", leave=True)
    assert shown(dataset).state == "indexing"
    RunMember.objects.filter(worker="").update(heard_at=run.created_at - 2 * LOST)
    say(dataset, worker="b", leave=True)
    assert shown(dataset).state == "ready"


@pytest.mark.parametrize("error", [None, "disk full"])
def test_a_run_that_all_have_left_or_been_lost_from_ends_as_the_last_that_left_said(
    dataset: Dataset, error: str | None
) -> None:
    run = joined(dataset, "a", "load").run
    joined(dataset, "b")
    say(dataset, worker="a", stage="load", current=4)
    say(dataset, worker="b", run=1, error=error, leave=True, message="Stopped.")
    assert services.end_left_runs() == 0
    assert shown(dataset).state == "indexing"
    silent_since = timezone.now() - LOST
    RunMember.objects.update(joined_at=silent_since, heard_at=silent_since)
    Run.objects.update(heartbeat_at=silent_since)
    assert services.end_left_runs() == 1
    assert (shown(dataset).state, shown(dataset).error) == ("error" if error else "ready", error)
    assert services.end_left_runs() == 0
    assert Run.objects.get() == run


def test_no_run_ends_because_all_its_members_are_silent(dataset: Dataset) -> None:
    joined(dataset, "a")
    RunMember.objects.update(joined_at=timezone.now() - LOST, heard_at=timezone.now() - LOST)
    assert services.end_left_runs() == 0
    assert shown(dataset).state == "pending"


def test_only_a_member_leaves_and_leaving_opens_no_run(dataset: Dataset) -> None:
    say(dataset, worker="a", current=1)
    assert isinstance(refused(dataset, worker="a", leave=True), NotJoined)
    joined(dataset, "b")
    assert isinstance(refused(dataset, worker="a", current=9, leave=True), NotJoined)
    say(dataset, state=State.READY)  # for all
    say(dataset, worker="b", leave=True)
    assert Run.objects.count() == 1
