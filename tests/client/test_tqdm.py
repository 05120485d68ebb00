"""The drop-in shows its bar and reports; bars of libraries are captured without changing them."""

from __future__ import annotations

import io
import warnings

import optuna
import pytest
import tqdm as real
from dataset_progress.tqdm import capture_tqdm, tqdm, trange
from tqdm import TqdmExperimentalWarning
from tqdm.auto import tqdm as auto

from .conftest import shown, until

pytestmark = pytest.mark.usefixtures("address")


def test_it_shows_the_bar_and_reports() -> None:
    screen = io.StringIO()
    assert list(tqdm(range(40), desc="Reading", dataset="cats", file=screen)) == list(range(40))
    assert "Reading: 100%" in screen.getvalue()
    assert "40/40" in screen.getvalue()
    progress = shown()
    assert progress.stage is not None
    assert (progress.state, progress.stage.name, progress.current, progress.total) == ("ready", "Reading", 40, 40)


def test_trange_and_the_dataset_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET_PROGRESS_DATASET", "dogs")
    assert sum(trange(10, file=io.StringIO())) == 45
    assert shown("dogs").state == "ready"


def test_a_bar_that_is_updated_by_hand() -> None:
    with tqdm(total=10, dataset="cats", file=io.StringIO()) as bar:
        bar.update(4)
        bar.update()
        until(lambda progress: progress.current == 5)
    assert (shown().state, shown().current) == ("ready", 10)


def test_an_exception_in_the_block() -> None:
    def job() -> float:
        with tqdm(total=10, dataset="cats", file=io.StringIO()) as bar:
            bar.update(4)
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        job()
    assert (shown().state, shown().error) == ("error", "ZeroDivisionError: division by zero")


def test_without_a_dataset_it_is_tqdm_as_it_is() -> None:
    bar = tqdm(range(3), file=io.StringIO())
    assert bar.run is None
    assert list(bar) == [0, 1, 2]
    assert isinstance(bar, real.tqdm)


@pytest.mark.parametrize("disable", [False, True])
def test_bars_of_others_are_captured(disable: bool) -> None:
    with capture_tqdm("cats"):
        for _ in auto(range(20), desc="Tokenising", file=io.StringIO(), disable=disable):
            for _ in auto(range(5), desc="inner", file=io.StringIO(), disable=disable):
                pass
        with real.tqdm(total=8, desc="Writing", file=io.StringIO(), disable=disable) as bar:
            for _ in range(8):
                bar.update()
    progress = shown()
    assert progress.state == "ready"
    assert [(stage.name, stage.current, stage.total) for stage in progress.stages] == [
        ("Tokenising", 20, 20),
        ("Writing", 8, 8),
    ]


def test_after_the_capture_tqdm_is_as_it_was() -> None:
    before = dict(vars(real.std.tqdm))
    with pytest.raises(KeyError), capture_tqdm("cats"):
        raise KeyError("x")
    assert dict(vars(real.std.tqdm)) == before
    assert shown().state == "error"


def test_the_bar_of_optuna_is_captured() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(), capture_tqdm("cats", flush_seconds=30):
        warnings.simplefilter("ignore", TqdmExperimentalWarning)
        study = optuna.create_study()
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12, show_progress_bar=True)
    assert len(study.trials) == 12
    progress = shown()
    assert (progress.state, progress.current, progress.total) == ("ready", 12, 12)
