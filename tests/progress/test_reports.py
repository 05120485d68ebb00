"""Reports that open their runs and stages themselves, and those that are refused."""

from __future__ import annotations

import pytest

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.errors import IllegalTransition, LimitReached, NoRun, RunFinished, UnknownRun
from apps.progress.models import ItemFailure, Run
from apps.progress.run_state import MAX_STAGES
from apps.progress.services import StagePlan
from apps.progress.transitions import State

from .helpers import refused, say, shown


def test_one_report_is_a_complete_reporter(dataset: Dataset) -> None:
    taken = say(dataset, state=State.INDEXING, current=45, total=100, message="Indexing samples... 45/100")
    progress = shown(dataset)
    assert (taken.run, taken.control, taken.version) == (1, "run", progress.version)
    assert (progress.state, progress.current, progress.total) == ("indexing", 45, 100)
    assert (progress.message, progress.percent) == ("Indexing samples... 45/100", None)  # of what more, nobody has said
    assert progress.health == "live"


def test_a_whole_life_by_reports_alone(dataset: Dataset) -> None:
    for state in (State.INDEXING, State.EMBEDDING):
        for current in (0, 50, 100):
            say(dataset, state=state, current=current, total=100)
    say(dataset, state=State.READY, message="Done.")
    progress = shown(dataset)
    assert (progress.state, progress.percent, progress.message) == ("ready", 100.0, "Done.")
    assert [(stage.name, stage.state, stage.current) for stage in progress.stages] == [
        ("indexing", "done", 100),
        ("embedding", "done", 100),
    ]


def test_a_stage_that_nobody_planned_is_shown_by_its_name(dataset: Dataset) -> None:
    say(dataset, stage="Tokenise", current=3)
    progress = shown(dataset)
    assert progress.stage is not None
    assert (progress.state, progress.stage.name, progress.stage.label) == ("indexing", "Tokenise", "Tokenise")
    assert (progress.current, progress.total) == (3, 0)


def test_a_stage_takes_the_state_that_comes_with_it(dataset: Dataset) -> None:
    say(dataset, stage="encode", state=State.EMBEDDING)
    assert shown(dataset).state == "embedding"


def test_planned_stages_are_met_by_name_and_by_state(dataset: Dataset) -> None:
    plans = [StagePlan("load", counts_as=State.INDEXING, total=10), StagePlan("encode", counts_as=State.EMBEDDING)]
    services.begin_run(dataset, plans)
    say(dataset, current=4)
    assert (shown(dataset).current, shown(dataset).total) == (4, 10)
    say(dataset, state=State.EMBEDDING, current=1)
    assert [(stage.name, stage.state) for stage in shown(dataset).stages] == [("load", "done"), ("encode", "active")]


def test_a_report_that_comes_after_the_next_stage_has_begun_is_refused(dataset: Dataset) -> None:
    say(dataset, state=State.INDEXING, current=100, total=100)
    say(dataset, state=State.EMBEDDING, current=1, total=100)
    assert isinstance(refused(dataset, state=State.INDEXING, current=99, total=100), IllegalTransition)
    assert isinstance(refused(dataset, stage="indexing", current=99), IllegalTransition)


def test_indexing_again_is_another_stage_with_a_name(dataset: Dataset) -> None:
    for stage, state in (("read", State.INDEXING), ("encode", State.EMBEDDING), ("sort", State.INDEXING)):
        say(dataset, stage=stage, state=state, current=1, total=1)
    assert [stage.name for stage in shown(dataset).stages] == ["read", "encode", "sort"]
    assert shown(dataset).state == "indexing"


@pytest.mark.parametrize("end", [State.READY, State.ERROR])
def test_an_end_that_is_said_again_changes_nothing(dataset: Dataset, end: State) -> None:
    say(dataset, state=State.INDEXING, current=1, total=2)
    said = {"state": end, "error": "disk full" if end is State.ERROR else None}
    first = say(dataset, **said)
    assert say(dataset, **said) == first
    assert say(dataset, run=1, **said) == first
    assert Run.objects.count() == 1


def test_an_error_that_is_said_again_changes_nothing_though_it_names_no_state(dataset: Dataset) -> None:
    first = say(dataset, current=6, error="disk full")
    assert say(dataset, current=6, error="disk full") == first
    assert say(dataset, error="disk full") == first
    assert [run.state for run in Run.objects.all()] == ["error"]


def test_a_finished_run_is_followed_by_another_when_work_begins_again(dataset: Dataset) -> None:
    say(dataset, state=State.READY)
    assert say(dataset, state=State.INDEXING, current=1).run == 2
    assert [run.state for run in Run.objects.order_by("number")] == ["ready", "indexing"]


def test_an_error_needs_no_state(dataset: Dataset) -> None:
    say(dataset, current=3, total=9)
    say(dataset, error="disk full")
    progress = shown(dataset)
    assert (progress.state, progress.error, progress.current) == ("error", "disk full", 3)


def test_nothing_said_is_a_sign_of_life_and_no_change(dataset: Dataset) -> None:
    first = say(dataset, current=1)
    Run.objects.update(heartbeat_at=None)
    assert say(dataset).version == first.version
    assert Run.objects.get().heartbeat_at is not None


def test_a_late_report_of_an_older_run_is_refused(dataset: Dataset) -> None:
    say(dataset, state=State.READY)
    say(dataset, current=1)
    assert isinstance(refused(dataset, run=1, current=99), RunFinished)


def test_what_is_refused(dataset: Dataset) -> None:
    assert isinstance(refused(dataset, message="hello"), NoRun)
    assert isinstance(refused(dataset, run=1, current=1), NoRun)
    say(dataset, current=1)
    assert isinstance(refused(dataset, run=2, current=2), UnknownRun)
    assert isinstance(refused(dataset, state=State.PENDING), IllegalTransition)
    assert isinstance(refused(dataset, state=State.PENDING, current=5, failures=[("a", "")]), IllegalTransition)
    say(dataset, state=State.READY)
    assert isinstance(refused(dataset, message="hello"), RunFinished)
    assert isinstance(refused(dataset, state=State.ERROR, error="too late"), RunFinished)


def test_a_first_report_that_is_refused_opens_no_run(dataset: Dataset) -> None:
    assert isinstance(refused(dataset, state=State.PENDING, current=5), IllegalTransition)
    assert not Run.objects.exists()


def test_a_run_has_so_many_stages_and_no_more(dataset: Dataset) -> None:
    for number in range(MAX_STAGES):
        say(dataset, stage=f"s{number}")
    assert isinstance(refused(dataset, stage="one more"), LimitReached)


def test_a_label_and_a_unit_change_what_is_shown_and_not_the_stage(dataset: Dataset) -> None:
    say(dataset, stage="load", label="Epoch 1", unit="files", current=1, total=9)
    say(dataset, label="Epoch 2")
    say(dataset, stage="load", worker="a", unit="B", current=5)
    [stage] = shown(dataset).stages
    assert (stage.name, stage.label, stage.unit, stage.current) == ("load", "Epoch 2", "B", 6)


def test_failures_are_listed_once_and_counted_once(dataset: Dataset) -> None:
    for _ in range(2):
        say(dataset, current=1, failures=[("a.jpg", "truncated"), ("b.jpg", "")])
    assert (shown(dataset).failed, ItemFailure.objects.count()) == (2, 2)
    say(dataset, failed=5, failures=[("c.jpg", "")])
    assert (shown(dataset).failed, ItemFailure.objects.count()) == (5, 3)


def test_what_was_asked_of_the_reporter_comes_with_the_answer(dataset: Dataset) -> None:
    say(dataset, current=1)
    services.request_pause(Run.objects.get().pk)
    assert say(dataset, current=2).control == "pause"
