"""A callback for Lightning."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from ._steps import Steps


class ProgressCallback(Callback):  # type: ignore[misc]  # not installed with the tests of every day
    """Reports the epochs of `fit` on ``dataset``, with the metrics that are logged. ``options``: those of `track`.

    Of several processes, the first reports. Waits before a batch while the run is paused, and raises `Cancelled` there
    when it is cancelled.
    """

    def __init__(self, dataset: str, *, stage: str = "training", **options: Any) -> None:
        self._steps = Steps(dataset, stage=stage, unit="epochs", options=options)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self._steps.begin(trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._steps.hold()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._steps.count(trainer.current_epoch + 1, trainer.callback_metrics)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._steps.end(exception)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._steps.end()
