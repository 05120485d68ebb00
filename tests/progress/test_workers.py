"""The workers of a stage: who is active, who has fallen silent, who is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.datasets.models import Dataset
from apps.progress import services, workers
from apps.progress.models import Run, Stage, WorkerShare
from apps.progress.selectors import workers_of
from apps.progress.transitions import State

from .helpers import refused, say, shown

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def counts(dataset: Dataset) -> tuple[int, int, int]:
    summary = shown(dataset).workers
    return summary.active, summary.silent, summary.done


def silence(dataset: Dataset, worker: str, seconds: float) -> None:
    """Let the last sign of a worker be that long ago, in its own row and in its stage's counts."""
    for share in WorkerShare.objects.filter(stage__run__dataset=dataset, worker=worker).select_related("stage"):
        before = workers.sign_step_of(share)
        share.heard_at = timezone.now() - timedelta(seconds=seconds)
        share.stage.signs = workers.moved(share.stage.signs, before, workers.sign_step_of(share))
        share.stage.save(update_fields=["signs"])
        share.save(update_fields=["heard_at"])


# --- Counting them by the step of their last sign ---------------------------------------------------------------------

moves = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=150)


@given(moves)
def test_the_counts_hold_every_worker_once_in_few_steps(heard: list[tuple[int, int]]) -> None:
    signs: list[list[int]] = []
    steps: dict[int, int] = {}
    now = 0
    for worker, later in heard:
        now += later
        step = now // workers.STEP * workers.STEP
        signs = workers.moved(signs, steps.get(worker), step)
        steps[worker] = step
        assert sum(number for _, number in signs) == len(steps)
        assert len(signs) <= workers.MOST_STEPS
        assert all(earlier[0] < after[0] for earlier, after in pairwise(signs))
        assert all(number > 0 for _, number in signs)


def test_a_worker_that_is_done_is_counted_no_more() -> None:
    assert workers.moved([[5, 2]], 5, None) == [[5, 1]]
    assert workers.moved([[5, 1]], 5, None) == []


def test_the_rate_of_a_worker_follows_what_it_does_of_late() -> None:
    share = WorkerShare()
    workers.note_sign(share, T0, 10)
    assert share.rate == 0  # since when it has worked is not known
    for second in range(1, 301):
        workers.note_sign(share, T0 + timedelta(seconds=second), 10)
    assert share.rate == pytest.approx(10)
    for second in range(301, 501):
        workers.note_sign(share, T0 + timedelta(seconds=second), 2)
    assert share.rate == pytest.approx(2, rel=0.05)


# --- In a run ---------------------------------------------------------------------------------------------------------


def test_of_twelve_workers_one_is_silent(dataset: Dataset) -> None:
    for number in range(12):
        say(dataset, stage="index", worker=f"w{number}", current=1, total=10)
    assert counts(dataset) == (12, 0, 0)
    silence(dataset, "w7", 300)
    progress = shown(dataset)
    assert counts(dataset) == (11, 1, 0)
    assert progress.health == "live"  # the run is: the others work
    run = Run.objects.get()
    listed, after = workers_of(run, after=0, limit=50, now=timezone.now())
    assert after is None
    assert {(one.share.worker, one.state, one.health) for one in listed if one.state != "active"} == {
        ("w7", "silent", "lost")
    }
    assert [one.health for one in listed if one.state == "active"] == ["live"] * 11


def test_a_silent_worker_that_is_heard_again_is_active_without_counting_anything(dataset: Dataset) -> None:
    for worker in ("a", "b"):
        say(dataset, stage="index", worker=worker, current=1, total=10)
    silence(dataset, "a", 300)
    assert counts(dataset) == (1, 1, 0)
    say(dataset, worker="a")
    assert counts(dataset) == (2, 0, 0)
    assert shown(dataset).current == 2


def test_a_sign_of_life_in_another_stage_begins_no_share_of_it(dataset: Dataset) -> None:
    say(dataset, stage="index", worker="a", current=1, total=10)
    say(dataset, stage="embed", worker="b", current=1, total=10)
    say(dataset, worker="a")
    assert counts(dataset) == (1, 0, 0)
    assert set(WorkerShare.objects.values_list("stage__name", "worker")) == {("index", "a"), ("embed", "b")}


def test_a_worker_whose_share_is_done_is_not_silent_and_may_get_more(dataset: Dataset) -> None:
    for worker in ("a", "b"):
        say(dataset, stage="index", worker=worker, current=1, total=10)
    say(dataset, worker="a", current=10)
    assert counts(dataset) == (1, 0, 1)
    silence(dataset, "a", 300)
    assert counts(dataset) == (1, 0, 1)
    say(dataset, worker="a", total=20)
    assert counts(dataset) == (2, 0, 0)


def test_a_worker_that_says_so_is_done_whatever_it_was_to_do(dataset: Dataset) -> None:
    for worker in ("a", "b"):
        say(dataset, stage="index", worker=worker, current=1)
    say(dataset, worker="a", done=True)
    assert counts(dataset) == (1, 0, 1)
    say(dataset, worker="a", current=2)
    assert counts(dataset) == (2, 0, 0)


def test_a_member_that_leaves_is_done(dataset: Dataset) -> None:
    for worker in ("a", "b"):
        services.begin_or_find_run(dataset, join_as=worker)
        say(dataset, stage="index", worker=worker, current=1)
    say(dataset, worker="a", leave=True)
    assert counts(dataset) == (1, 0, 1)


def test_nobody_is_silent_in_a_run_that_is_paused_or_over(dataset: Dataset) -> None:
    run = Run.objects.get(number=say(dataset, stage="index", worker="a", current=1).run)
    say(dataset, worker="b", current=1)
    silence(dataset, "a", 300)
    assert counts(dataset) == (1, 1, 0)
    services.request_pause(run.pk)
    assert counts(dataset) == (2, 0, 0)
    services.request_resume(run.pk)
    services.finish(run.pk)
    assert counts(dataset) == (0, 0, 2)


def test_a_worker_in_a_long_item_has_a_health_of_its_own(dataset: Dataset) -> None:
    run = Run.objects.get(number=say(dataset, stage="index", worker="a", current=1).run)
    say(dataset, worker="b", current=1)
    WorkerShare.objects.filter(worker="a").update(progressed_at=timezone.now() - timedelta(minutes=12))
    listed, _ = workers_of(run, after=0, limit=50, now=timezone.now())
    assert [(one.share.worker, one.state, one.health) for one in listed] == [
        ("a", "active", "stalled"), ("b", "active", "live"),
    ]  # fmt: skip


def test_a_refused_report_moves_no_worker(dataset: Dataset) -> None:
    say(dataset, stage="index", worker="a", current=1)
    refused(dataset, worker="b", current=1, state=State.PENDING)
    refused(dataset, worker="a", current=10**15, run=7)
    assert counts(dataset) == (1, 0, 0)
    assert Stage.objects.get().workers == 1


def test_signs_of_life_change_no_version(dataset: Dataset) -> None:
    before = say(dataset, stage="index", worker="a", current=1).version
    silence(dataset, "a", 20)
    assert say(dataset, worker="a").version == before
    assert counts(dataset) == (1, 0, 0)
