"""Report the computations of dask, by a callback of its own: the tasks of its schedulers of threads and processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask.callbacks import Callback

from ._capture import Captures
from ._counting import LoopCounter
from ._following import CounterFollower

STAGE = "compute"
# The lists of a scheduler's state, whose sum is the number of its tasks, as in dask's own bar.
TASKS = ("ready", "waiting", "running", "finished")


class Computations:
    """Counts the tasks of each computation. They may run side by side in several threads, each with its own state."""

    def __init__(self) -> None:
        self._counted: dict[int, tuple[LoopCounter, CounterFollower]] = {}

    def begin(self, graph: Any, state: dict[str, Any]) -> None:
        if (capture := captures.newest) is None:
            return
        counter = LoopCounter(sum(len(state[name]) for name in TASKS))
        if (follower := capture.follow(lambda: CounterFollower(capture.run, counter, STAGE))) is not None:
            self._counted[id(state)] = counter, follower

    def count(self, key: Any, result: Any, graph: Any, state: dict[str, Any], worker: Any) -> None:
        if (counted := self._counted.get(id(state))) is not None:
            counter, follower = counted
            counter.done = len(state["finished"])
            follower.hold()

    def end(self, graph: Any, state: dict[str, Any], has_failed: bool) -> None:
        if (counted := self._counted.pop(id(state), None)) is not None:
            counter, follower = counted
            follower.stop(was_left=counter.done < (counter.total or 0))


def _wrap() -> Callable[[], None]:
    computations = Computations()
    callback = Callback(start_state=computations.begin, posttask=computations.count, finish=computations.end)
    callback.register()
    unregister: Callable[[], None] = callback.unregister
    return unregister


captures = Captures(_wrap)
