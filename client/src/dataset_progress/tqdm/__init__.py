"""`tqdm`, with its bar in the terminal and its count on the server.

    from dataset_progress.tqdm import tqdm, trange
    for item in tqdm(items, dataset="cats", desc="Indexing"):
        ...

The dataset may also be named by ``DATASET_PROGRESS_DATASET``; without one, or without an address, this is `tqdm` as it
is. `capture_tqdm` does the same for bars that are made in libraries.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from tqdm.auto import tqdm as _auto

from dataset_progress._api import Server
from dataset_progress._run import Run
from dataset_progress._track import Loop

from ._bars import Follower, stage_of
from ._capture import capture_tqdm

__all__ = ["capture_tqdm", "tqdm", "trange"]


class tqdm(_auto):  # type: ignore[type-arg]  # noqa: N801 -- the name that it stands in for
    """A bar that reports. ``dataset``: of which dataset; ``run``: as a stage of that run; all else is `tqdm`'s own.

    Holds while the run is paused, and raises `Cancelled` when it is cancelled, at the next item or `update`. A bar
    within the loop of another of the same dataset is shown, and not reported: it is a part of what that one counts.
    """

    def __init__(
        self, iterable: Any = None, *args: Any, dataset: str | None = None, run: Run | None = None, **options: Any
    ) -> None:
        self._loop: Loop | None = None
        self._follower: Follower | None = None
        self._is_in_loop = False
        super().__init__(iterable, *args, **options)
        dataset = dataset or os.environ.get("DATASET_PROGRESS_DATASET", "")
        stage = stage_of(self, options.get("desc"))
        if run is None and dataset and Server.find().url:
            self._loop = Loop(dataset, stage, {})
            run = None if self._loop.loops is None else self._loop.loops.run
        if run is not None:
            self._follower = Follower(run, self, stage)

    @property
    def run(self) -> Run | None:
        """The run on which it reports; None where it does not."""
        return None if self._follower is None else self._follower.run

    def __iter__(self) -> Iterator[Any]:
        items = super().__iter__()
        if self._follower is None:
            yield from items
            return
        self._is_in_loop = True
        try:
            yield from self._follower.through(items, self)
        except GeneratorExit:
            self._end(was_left=True)
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def update(self, n: float | None = 1) -> bool | None:
        if self.disable:
            self.n += n or 0
        told: bool | None = super().update(n)
        if self._follower is not None and not self._is_in_loop:
            self._follower.hold()
        return told

    def reset(self, total: float | None = None) -> None:
        if self._follower is not None:
            self._follower.stop()
        super().reset(total)
        if self._follower is not None:
            self._follower.start(self)

    def close(self) -> None:
        super().close()
        # A loop closes its bar before it tells why it ends.
        if getattr(self, "_is_in_loop", True) or not hasattr(self, "total"):
            return
        error = sys.exc_info()[1]
        if isinstance(error, StopIteration | StopAsyncIteration | GeneratorExit):
            error = None  # the end of what it goes through, or nobody's
        self._end(error, was_left=error is None and bool(self.total and self.n < self.total))

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._end(error)
        super().__exit__(kind, error, traceback)

    def _end(self, error: BaseException | None = None, *, was_left: bool = False) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop()
        if self._loop is not None:
            self._loop.left() if was_left else self._loop.end(error)


def trange(*args: int, **options: Any) -> tqdm:
    """``tqdm(range(*args), **options)``"""
    return tqdm(range(*args), **options)
