"""A simulation says what a reporter says, through the same services, and obeys like one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.progress import services
from apps.progress.control import Action
from apps.progress.models import Run, Stage, WorkerShare
from apps.progress.selectors import progress_of
from apps.progress.services import close_for_removal
from apps.progress.snapshot import DatasetProgress
from apps.simulation.plan import TICK, Plan
from apps.simulation.reporter import begin, simulate
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dataset(db: None) -> Dataset:
    return Dataset.objects.create(dataset_id="cats")


def run_through(
    dataset: Dataset, plan: Plan, at_tick: Callable[[int, DatasetProgress], object] = lambda *_: None
) -> tuple[Run, list[DatasetProgress]]:
    """Simulate without waiting. Returns the run and what was shown at each tick."""
    shown: list[DatasetProgress] = []

    def wait(seconds: float) -> None:
        assert seconds > 0
        assert len(shown) < 2_000
        shown.append(progress_of(dataset.pk))
        at_tick(len(shown), shown[-1])

    return simulate(begin(dataset, plan, "ada"), plan, wait), shown


def test_it_goes_through_its_stages_to_ready(dataset: Dataset) -> None:
    run, shown = run_through(dataset, Plan(stages=4, items=1_000, speed=2))
    assert (run.state, run.started_by, run.failed) == ("ready", "ada", 4)
    assert [(stage.name, stage.current, stage.state) for stage in Stage.objects.filter(run=run)] == [
        ("indexing", 1_000, "done"), ("step-2", 1_000, "done"), ("step-3", 1_000, "done"), ("embedding", 1_000, "done"),
    ]  # fmt: skip
    percents = [progress.percent or 0 for progress in shown]
    assert percents == sorted(percents)
    assert list(dict.fromkeys(progress.state for progress in shown)) == [
        "pending", "indexing", "embedding",
    ]  # fmt: skip
    assert len(shown) * TICK == pytest.approx(15, abs=1.5)


def test_several_workers_report_a_share_each(dataset: Dataset) -> None:
    run, shown = run_through(dataset, Plan(workers=3, items=100, speed=20))
    assert run.state == "ready"
    for stage in Stage.objects.filter(run=run):
        shares = WorkerShare.objects.filter(stage=stage)
        assert [share.total for share in shares] == [33, 33, 34]
        assert sum(share.current for share in shares) == stage.current == 100
    assert max(progress.workers.active for progress in shown) == 3


def test_it_fails_at_the_percentage_that_is_asked_for(dataset: Dataset) -> None:
    run, shown = run_through(dataset, Plan(fail_at=60, speed=4))
    assert run.state == "error"
    assert run.error.startswith("MemoryError")
    assert shown[-1].percent == pytest.approx(60, abs=5)


def test_while_it_stalls_it_gives_signs_of_life_and_makes_no_progress(dataset: Dataset) -> None:
    signs: list[Any] = []
    run, shown = run_through(dataset, Plan(stall=5, speed=10), lambda *_: signs.append(Run.objects.get().heartbeat_at))
    stalled = [i for i in range(2, len(shown)) if shown[i].current == shown[i - 1].current and shown[i].is_working]
    assert len(stalled) >= 4
    assert all(signs[i] > signs[i - 1] for i in stalled)
    assert run.state == "ready"


def test_it_pauses_goes_on_and_is_cancelled(dataset: Dataset) -> None:
    def act(tick: int, _: DatasetProgress) -> None:
        for at, action in ((10, Action.PAUSE), (20, Action.RESUME), (30, Action.CANCEL)):
            if tick == at:
                services.request(action, [dataset.pk], "ada")

    run, shown = run_through(dataset, Plan(), act)
    assert len(shown) == 30
    assert len({progress.current for progress in shown[12:20]}) == 1
    assert shown[15].paused
    assert shown[15].requested is None  # it obeys
    assert shown[29].current > shown[19].current
    assert (run.state, run.cancelled, run.control_by) == ("error", True, "ada")


def test_whoever_interrupts_it_ends_its_run(dataset: Dataset) -> None:
    def interrupt(tick: int, _: DatasetProgress) -> None:
        if tick == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_through(dataset, Plan(), interrupt)
    run = Run.objects.get()
    assert (run.state, run.error) == ("error", "The simulation was stopped.")


def test_it_ends_with_its_dataset(dataset: Dataset) -> None:
    def delete(tick: int, _: DatasetProgress) -> None:
        if tick == 5:
            delete_dataset(dataset)
            close_for_removal(dataset.pk)

    run, shown = run_through(dataset, Plan(), delete)
    assert not run.is_finished
    assert len(shown) == 5


@pytest.mark.parametrize(
    "wrong", [{"stages": 0}, {"stages": 13}, {"workers": 65}, {"speed": 0}, {"fail_at": 101}, {"stall": -1}]
)
def test_numbers_out_of_their_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is a number from"):
        Plan(**wrong)


def command(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        call_command("simulate_progress", *arguments)
    return ended.value.code


def test_the_command_makes_the_dataset_and_says_how_the_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("birds", "--speed", "1000", "--stages", "3", "--workers", "2", "--items", "10") == 0
    assert "Simulating run 1 of birds." in capsys.readouterr().out
    assert progress_of(Dataset.objects.get(dataset_id="birds").pk).state == "ready"
    assert command("birds", "--speed", "1000", "--fail-at", "50") == 1
    assert "MemoryError" in capsys.readouterr().out


def test_the_command_refuses_what_cannot_be(dataset: Dataset) -> None:
    services.begin_run(dataset)
    for arguments, reason in (
        (["cats"], "already being processed"),
        (["a/b"], "Use letters"),
        (["cats", "--fail-at", "200"], "--fail-at is a number from 0 to 100."),
    ):
        with pytest.raises(CommandError, match=reason):
            call_command("simulate_progress", *arguments)


def test_a_page_starts_as_many_as_a_process_may_run(dataset: Dataset) -> None:
    from apps.simulation import background

    others = [Dataset.objects.create(dataset_id=f"d{number}") for number in range(background.AT_ONCE)]
    runs = [background.start(other, Plan(), "ada") for other in others]
    with pytest.raises(background.TooMany):
        background.start(dataset, Plan(), "ada")
    services.request(Action.CANCEL, [other.pk for other in others], "ada")
    wait_until(
        lambda: not Run.objects.unfinished().exists(), seconds=60, what="a simulation goes on although it was cancelled"
    )
    assert all(Run.objects.get(pk=run.pk).cancelled for run in runs)

    def has_a_place() -> bool:
        try:
            return bool(background.start(dataset, Plan(speed=1_000), "ada"))
        except background.TooMany:
            return False

    wait_until(has_a_place, seconds=60, what="no simulation has given its place back")
    wait_until(lambda: not Run.objects.unfinished().exists(), seconds=60, what="a short simulation does not end")
