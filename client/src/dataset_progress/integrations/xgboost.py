"""A callback for XGBoost."""

from __future__ import annotations

from typing import Any

from xgboost.callback import TrainingCallback

from ._steps import Steps


class ProgressCallback(TrainingCallback):  # type: ignore[misc]  # not installed with the tests of every day
    """Reports the rounds of a training on ``dataset``, with the metrics of the evaluation sets.

    ``total``: the number of rounds, which XGBoost does not tell. ``options``: those of `track`. Waits after a round
    while the run is paused, and raises `Cancelled` there when it is cancelled.
    """

    def __init__(self, dataset: str, *, total: int | None = None, stage: str = "training", **options: Any) -> None:
        super().__init__()
        self._total = total
        self._steps = Steps(dataset, stage=stage, unit="rounds", options=options)

    def before_training(self, model: Any) -> Any:
        self._steps.begin(self._total)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        metrics = {f"{data}-{name}": each[-1] for data, found in evals_log.items() for name, each in found.items()}
        self._steps.count(epoch + 1, metrics)
        self._steps.hold()
        return False  # goes on

    def after_training(self, model: Any) -> Any:
        self._steps.end()
        return model
