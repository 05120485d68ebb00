"""Count the steps of a training, which its callbacks tell one by one, as a plain loop is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_progress import _values as values
from dataset_progress._api import Server
from dataset_progress._counting import Words
from dataset_progress._errors import Cancelled
from dataset_progress._following import CounterFollower
from dataset_progress._track import TrackedLoop


class StepCounter:
    """Counts steps, and says the metrics of the last."""

    in_hand = 0
    is_fractional = False

    def __init__(self, total: int | None, unit: str) -> None:
        self.done = 0
        self.total = total
        self.words = Words(unit=unit)


class Steps:
    """The steps of a training on ``dataset``, as the stage ``stage``. ``options``: those of `track`.

    Only `hold` may raise: `Cancelled`. Without an address nothing is done.
    """

    def __init__(self, dataset: str, *, stage: str, unit: str, options: dict[str, Any]) -> None:
        self._dataset = dataset
        self._stage = stage
        self._unit = unit
        self._options = options
        self._loop: TrackedLoop | None = None
        self._follower: CounterFollower | None = None
        self._counter = StepCounter(None, unit)

    def begin(self, total: int | None) -> None:
        """Begin to count ``total`` steps, unless they are being counted."""
        if self._loop is not None or not Server.find(self._options.get("url")).url:
            return
        self._loop = TrackedLoop(self._dataset, self._options)
        self._counter = StepCounter(total, self._unit)
        if (run := self._loop.run) is not None:
            self._follower = CounterFollower(run, self._counter, self._stage)

    def count(self, done: int, metrics: Mapping[str, object]) -> None:
        """Set how many steps are done, and the metrics of the last."""
        self._counter.done = done
        if metrics:
            self._counter.words = Words(unit=self._unit, message=describe(metrics))

    @property
    def done(self) -> int:
        """How many steps are done."""
        return self._counter.done

    def hold(self) -> None:
        """Wait while the run is paused. Raises `Cancelled`, which ends the training also where a library catches it."""
        if self._follower is None:
            return
        try:
            self._follower.hold()
        except Cancelled as cancelled:
            self.end(cancelled)
            raise

    def end(self, error: BaseException | None = None) -> None:
        """End the training, with ``error`` if it failed. Repeating it is harmless."""
        loop, self._loop = self._loop, None
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop(was_left=not follower.is_over and self._counter.total is not None)
        if loop is not None:
            loop.end(error)


def describe(metrics: Mapping[str, object]) -> str:
    """Return ``loss=0.25, accuracy=0.9``: numbers with four digits, and what is no number as it is."""
    described = []
    for name, value in metrics.items():
        number = values.number(value)
        described.append(f"{name}={values.text(value, 100) if number is None else format(number, '.4g')}")
    return values.text(", ".join(described), 1000)
