"""The callback for Optuna, with Optuna; `make test-integrations` tests those of the larger libraries."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import optuna
import pytest
from dataset_progress import Cancelled, track
from dataset_progress.integrations._steps import describe
from dataset_progress.integrations.optuna import ProgressCallback

from apps.progress import services
from apps.progress.models import Run
from tests.repository import ROOT

from .conftest import cancelled_in, ended, shown, until

pytestmark = pytest.mark.usefixtures("address")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def value(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1)


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_trials_are_counted(n_jobs: int) -> None:
    optuna.create_study().optimize(value, n_trials=30, n_jobs=n_jobs, callbacks=[ProgressCallback("cats", total=30)])
    progress = ended()
    assert progress.stage is not None
    assert (progress.state, progress.stage.name, progress.stage.unit) == ("ready", "trials", "trials")
    assert (progress.current, progress.stage.planned) == (30, 30)


def test_the_best_value_is_the_message() -> None:
    study = optuna.create_study()
    with ProgressCallback("cats", total=30) as callback:
        study.optimize(value, n_trials=5, callbacks=[callback])
        assert until(lambda progress: progress.current == 5).message == f"best={study.best_value:.4g}"
    assert (ended().state, shown().message) == ("ready", "Stopped at 5 of 30.")


def test_it_ends_when_nothing_refers_to_it() -> None:
    optuna.create_study().optimize(value, n_trials=5, callbacks=[ProgressCallback("cats")])
    assert (ended().state, shown().current) == ("ready", 5)


def test_an_exception_in_its_block() -> None:
    def fail(trial: optuna.Trial) -> float:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), ProgressCallback("cats", traceback=False) as callback:
        optuna.create_study().optimize(fail, n_trials=5, callbacks=[callback])
    assert (ended().state, shown().error) == ("error", "OSError: disk full")


def test_trials_within_a_loop_are_parts_of_it() -> None:
    for _ in track(range(2), dataset="cats", stage="datasets"):
        optuna.create_study().optimize(value, n_trials=5, callbacks=[ProgressCallback("cats", total=5)])
    assert [(stage.name, stage.current) for stage in ended().stages] == [("datasets", 2)]


def test_a_cancellation_ends_the_study() -> None:
    def slow(trial: optuna.Trial) -> float:
        time.sleep(0.01)
        return 0.0

    callback = ProgressCallback("cats", total=100_000)
    wait = cancelled_in(lambda: optuna.create_study().optimize(slow, n_trials=100_000, callbacks=[callback]))
    until(lambda progress: progress.current > 3)
    services.request_cancel(Run.objects.get().pk)
    assert [type(end) for end in wait()] == [Cancelled]
    callback.__exit__(None, None, None)
    assert until(lambda progress: progress.is_finished).cancelled


def test_metrics_are_described() -> None:
    metrics = {"loss": 0.123456, "accuracy": 1, "rate": 1e-05, "note": "warm", "many": [1, 2], "bad": float("nan")}
    assert describe(metrics) == "loss=0.1235, accuracy=1, rate=1e-05, note=warm, many=[1, 2], bad=nan"


def test_each_library_has_its_test() -> None:
    modules = {path.stem for path in (ROOT / "client/src/dataset_progress/integrations").glob("[a-z]*.py")}
    tested = (ROOT / "tests/integrations/test_training.py").read_text()
    assert [name for name in modules - {"optuna"} if f"integrations.{name} import" not in tested] == []
