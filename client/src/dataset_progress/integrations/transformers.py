"""A callback for the `Trainer` of Hugging Face."""

from __future__ import annotations

import math
from typing import Any

from transformers.trainer_callback import TrainerCallback

from ._steps import Steps


class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Reports the epochs of a training on ``dataset``, with what is logged. ``options``: those of `track`.

    Of several processes, the first reports. Waits before a step while the run is paused, and raises `Cancelled` there
    when it is cancelled.
    """

    def __init__(self, dataset: str, *, stage: str = "training", **options: Any) -> None:
        self._steps = Steps(dataset, stage=stage, unit="epochs", options=options)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._steps.begin(math.ceil(state.num_train_epochs) or None)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._steps.hold()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._steps.count(round(state.epoch or 0), {})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self._steps.count(self._steps.done, {name: value for name, value in (logs or {}).items() if name != "epoch"})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._steps.end()
