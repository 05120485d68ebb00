"""A callback for Optuna."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from ._steps import Steps


class ProgressCallback:
    """Reports the trials of `optimize` on ``dataset``, with the best value so far.

    ``total``: the number of trials, which Optuna does not tell. ``options``: those of `track`. Waits after a trial
    while the run is paused, and raises `Cancelled` there when it is cancelled. Ends after ``total`` trials, with its
    ``with`` block, or when nothing refers to it.
    """

    def __init__(self, dataset: str, *, total: int | None = None, stage: str = "trials", **options: Any) -> None:
        self._total = total
        self._lock = threading.Lock()
        self._steps = Steps(dataset, stage=stage, unit="trials", options=options)
        self._steps.begin(total)

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        metrics = _best(study)
        with self._lock:  # trials may run in several threads
            done = self._steps.done + 1
            self._steps.count(done, metrics)
        self._steps.hold()
        if done == self._total:
            self._steps.end()

    def __enter__(self) -> ProgressCallback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._steps.end(error)

    def __del__(self) -> None:
        if hasattr(self, "_steps"):  # its arguments were right
            self._steps.end()


def _best(study: Study) -> dict[str, float]:
    """Return the best value; nothing while no trial has succeeded, or where there are several objectives."""
    try:
        return {"best": study.best_value}
    except (RuntimeError, ValueError):
        return {}
