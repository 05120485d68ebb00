"""Several writers at once, each with a connection of its own: one wins, the others are told, nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.progress import selectors, services
from apps.progress.errors import ProgressError, RunFinished, RunUnfinished
from apps.progress.models import Head, Run, Transition
from apps.progress.reports import Accepted, Report, accept_reports
from apps.progress.run_state import RunState
from apps.progress.signals import Change
from apps.progress.store import flush, load_runs, lock_heads
from apps.progress.transitions import StageState, State

from .conftest import EMBED, INDEX

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dataset(transactional_db: None) -> Dataset:
    return Dataset.objects.create(dataset_id="cats")


def at_once(verbs: Sequence[Callable[[], object]]) -> list[object]:
    """Call each verb on a thread and a connection of its own, all at one moment; what each returned or raised."""
    barrier = threading.Barrier(len(verbs))

    def call(verb: Callable[[], object]) -> object:
        try:
            connection.ensure_connection()
            barrier.wait(30)
            return verb()
        except ProgressError as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(verbs)) as pool:
        return list(pool.map(call, verbs))


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_ends_one_wins(dataset: Dataset, attempt: int) -> None:
    run = services.begin_run(dataset, [INDEX])
    services.start_stage(run.pk, "index")
    before = Head.objects.get().version
    outcome = at_once([lambda: services.finish(run.pk), lambda: services.fail(run.pk, "disk full")])
    assert [isinstance(end, RunFinished) for end in outcome] in ([True, False], [False, True])
    winner = "error" if isinstance(outcome[0], RunFinished) else "ready"
    assert Run.objects.get().state == winner
    assert Transition.objects.filter(run=run, new__in=["ready", "error"]).count() == 1
    assert Head.objects.get().version == before + 1


@pytest.mark.parametrize("attempt", range(3))
def test_of_many_first_runs_one_begins(dataset: Dataset, attempt: int) -> None:
    outcome = at_once([lambda: services.begin_run(dataset, [INDEX, EMBED])] * 6)
    assert sum(isinstance(run, Run) for run in outcome) == 1
    assert sum(isinstance(run, RunUnfinished) for run in outcome) == 5
    assert (Run.objects.count(), Head.objects.get().version) == (1, 1)


def test_of_many_who_join_one_begins_and_of_many_who_leave_one_ends(dataset: Dataset) -> None:
    def begin(worker: str) -> Callable[[], object]:
        return lambda: services.begin_or_find_run(dataset, [INDEX, EMBED], join_as=worker).joined

    def leave(worker: str) -> Callable[[], object]:
        return lambda: accept_reports([(dataset.pk, Report(worker=worker, run=1, state=State.READY, leave=True))])[0]

    assert sorted(map(bool, at_once([begin(worker) for worker in "abcd"]))) == [False, True, True, True]
    assert Run.objects.get().stages.count() == 2
    assert all(isinstance(left, Accepted) for left in at_once([leave(worker) for worker in "abcd"]))
    assert Run.objects.get().state == "ready"
    assert Transition.objects.filter(stage="", new="ready").count() == 1


def test_of_many_who_pause_one_has_paused(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [INDEX])
    assert sorted(map(bool, at_once([lambda: services.request_pause(run.pk)] * 4))) == [False] * 3 + [True]


def test_a_stage_is_started_once(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [INDEX])
    at_once([lambda: services.start_stage(run.pk, "index")] * 4)
    assert Transition.objects.filter(run=run, stage="index", new="active").count() == 1


def test_no_report_is_lost_and_no_version_is_given_twice(dataset: Dataset, announced: list[Change]) -> None:
    run = services.begin_run(dataset, [INDEX])
    services.start_stage(run.pk, "index")

    def reporter(name: int) -> Callable[[], object]:
        return lambda: [services.report(run.pk, message=f"{name} says {number}") for number in range(25)]

    at_once([reporter(name) for name in range(4)])
    assert selectors.progress_of(dataset.pk).version == 2 + 100
    assert sorted(change.version for change in announced) == list(range(1, 103))


def test_failures_of_several_workers_are_all_counted(dataset: Dataset) -> None:
    run = services.begin_run(dataset, [INDEX])

    def worker(name: int) -> Callable[[], object]:
        # Each says 10 of its own, and the same 5 that all of them say.
        return lambda: [
            services.record_failures(run.pk, "index", [(f"{name}/{number}.jpg", ""), (f"shared/{number % 5}.jpg", "")])
            for number in range(10)
        ]

    at_once([worker(name) for name in range(4)])
    assert selectors.progress_of(dataset.pk).failed == 45


def _twice(dataset: Dataset) -> tuple[RunState, RunState]:
    """Two writers who read the run at the same moment, as if the lock of the head were not there."""
    first, second = (load_runs(lock_heads("dataset_id", [dataset.pk]), timezone.now())[dataset.pk] for _ in range(2))
    return first, second


def move(run: RunState, state: State) -> None:
    run.move(state)


def start(run: RunState, state: State) -> None:
    run.move_stage(run.stages[0], StageState.ACTIVE if state is State.INDEXING else StageState.SKIPPED)


@pytest.mark.parametrize("change", [move, start])
def test_even_without_the_lock_a_state_moves_once(dataset: Dataset, change: Callable[[RunState, State], None]) -> None:
    services.begin_run(dataset, [INDEX])
    with transaction.atomic():
        first, second = _twice(dataset)
        change(first, State.INDEXING)
        change(second, State.READY)
        flush([first])
    with pytest.raises(RunFinished, match="Another reporter"), transaction.atomic():
        flush([second])
    after = Run.objects.get(), Run.objects.get().stages.get()
    assert (after[0].state, after[1].state) in [("indexing", "waiting"), ("pending", "active")]


def test_even_without_the_versions_a_state_moves_once(dataset: Dataset) -> None:
    """The run's own state is compared too, whatever became of the version."""
    services.begin_run(dataset, [INDEX])
    with transaction.atomic():
        first, second = _twice(dataset)
        first.move(State.INDEXING)
        second.move(State.READY)
        flush([first])
    second.head.version += 1
    with pytest.raises(RunFinished, match="Another reporter"), transaction.atomic():
        flush([second])
    assert Run.objects.get().state == "indexing"
