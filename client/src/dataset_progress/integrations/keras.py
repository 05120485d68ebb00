"""A callback for Keras."""

from __future__ import annotations

from typing import Any

import keras

from ._steps import Steps


class ProgressCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Reports the epochs of `fit` on ``dataset``, with their metrics. ``options``: those of `track`.

    Waits before a batch while the run is paused, and raises `Cancelled` there when it is cancelled.
    """

    def __init__(self, dataset: str, *, stage: str = "training", **options: Any) -> None:
        super().__init__()
        self._steps = Steps(dataset, stage=stage, unit="epochs", options=options)

    def on_train_begin(self, logs: Any = None) -> None:
        self._steps.begin(self.params.get("epochs"))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._steps.hold()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._steps.count(epoch + 1, logs or {})

    def on_train_end(self, logs: Any = None) -> None:
        self._steps.end()
