"""A callback for LightGBM."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ._steps import Steps


class ProgressCallback:
    """Reports the rounds of a training on ``dataset``, with the metrics of the evaluation sets.

    ``options``: those of `track`. Waits after a round while the run is paused, and raises `Cancelled` there when it is
    cancelled. LightGBM does not tell when early stopping ends a training: the callback then ends with its ``with``
    block, or when nothing refers to it.
    """

    order = 20  # before early stopping, which raises
    before_iteration = False

    def __init__(self, dataset: str, *, stage: str = "training", **options: Any) -> None:
        self._steps = Steps(dataset, stage=stage, unit="rounds", options=options)

    def __call__(self, env: Any) -> None:
        total = env.end_iteration - env.begin_iteration
        done = env.iteration - env.begin_iteration + 1
        self._steps.begin(total)
        self._steps.count(done, {f"{each[0]}-{each[1]}": each[2] for each in env.evaluation_result_list or ()})
        self._steps.hold()
        if done >= total:
            self._steps.end()

    def __enter__(self) -> ProgressCallback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._steps.end(error)

    def __del__(self) -> None:
        self._steps.end()
