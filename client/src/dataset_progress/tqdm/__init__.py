"""A drop-in for `tqdm` that shows its bar in the terminal and reports its count to the server.

    from dataset_progress.tqdm import tqdm, trange
    for item in tqdm(items, dataset="cats", desc="Indexing"):
        ...

``DATASET_PROGRESS_DATASET`` may name the dataset instead. Without a dataset or an address, this is `tqdm` unchanged.
`capture_tqdm` reports the bars that libraries make.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from tqdm.auto import tqdm as _auto

from dataset_progress._run import Run
from dataset_progress._settings import find_server
from dataset_progress._track import TrackedLoop

from ._bars import NOTHING_ASKED, BarFollower, is_short, stage_of
from ._capture import capture_tqdm

__all__ = ["capture_tqdm", "tqdm", "trange"]

_update = _auto.update


class tqdm(_auto):  # type: ignore[type-arg]  # noqa: N801 -- the name of the class it replaces; not generic at run time
    """A bar of `tqdm` that reports.

    ``dataset``: the dataset to report on. ``run``: report as a stage of this run instead. ``key`` to ``traceback``: as
    for `track`. All other arguments are those of `tqdm`. The description names the stage; without its numbers, so that
    all epochs are one. A later description changes what is shown, not the stage.

    Waits while the run is paused, and raises `Cancelled` when it is cancelled, at the next item or `update`. A bar
    inside the loop of another bar of the same dataset is shown but not reported: it is a part of what that one counts.
    """

    reports_itself = True
    _control = NOTHING_ASKED
    _needs_care = False

    def __init__(
        self,
        iterable: Any = None,
        *args: Any,
        dataset: str | None = None,
        run: Run | None = None,
        key: str | int | None = None,
        worker: str | int | None = None,
        url: str | None = None,
        token: str | None = None,
        obey: bool = True,
        flush_seconds: float | None = None,
        linger: float | None = None,
        traceback: bool = True,
        **options: Any,
    ) -> None:
        self._loop: TrackedLoop | None = None
        self._follower: BarFollower | None = None
        # What the job handles meanwhile is no failure of the bar. The exception itself would keep the bar alive.
        self._handled_before = id(sys.exc_info()[1])
        super().__init__(iterable, *args, **options)
        dataset = dataset or os.environ.get("DATASET_PROGRESS_DATASET", "")
        stage = stage_of(self, options.get("desc", args[0] if args else None))
        if run is None and dataset and find_server(url).url:
            reporting = {
                "key": key, "worker": worker, "url": url, "token": token, "obey": obey,
                "flush_seconds": flush_seconds, "linger": linger, "traceback": traceback,
            }  # fmt: skip
            self._loop = TrackedLoop(dataset, reporting)
            run = self._loop.run
        if run is not None:
            self._follower = BarFollower(run, self, stage)
            self._control = self._follower.control
            self._needs_care = self._follower.needs_care

    @property
    def run(self) -> Run | None:
        """The run that the bar reports to; None if it does not report."""
        return None if self._follower is None else self._follower.run

    def __iter__(self) -> Iterator[Any]:
        if self._follower is None:
            return super().__iter__()
        return self._follower.iterate(_auto.__iter__, self, self._end)

    def update(self, n: float | None = 1) -> bool | None:
        # Often called for each item, so what is rare is told apart at one look, and `super` is not looked up.
        if self._control.is_requested or self._needs_care:
            return self._update_with_care(n)
        was_drawn: bool | None = _update(self, n)
        return was_drawn

    def _update_with_care(self, n: float | None) -> bool | None:
        if self._follower is None:
            return super().update(n)
        return self._follower.update(self, super().update, n)

    def reset(self, total: float | None = None) -> None:
        if self._follower is not None:
            self._follower.stop_for_reset()
        super().reset(total)
        if self._follower is not None:
            self._follower.start(self)

    def close(self) -> None:
        super().close()
        # A loop closes its bar before `__iter__` knows why the loop ends. And a bar is closed if its `__init__` raised.
        follower: BarFollower | None = getattr(self, "_follower", None)
        if not hasattr(self, "total") or (follower is not None and follower.is_iterating):
            return
        error = sys.exc_info()[1]
        if isinstance(error, StopIteration | StopAsyncIteration | GeneratorExit) or id(error) == self._handled_before:
            error = None
        self._end(error)

    async def __anext__(self) -> Any:
        item = await super().__anext__()
        if self._follower is not None:
            await self._follower.hold_async()
        return item

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        follower = self._follower
        self._end(error)
        super().__exit__(kind, error, traceback)
        if follower is not None:
            follower.raise_if_cancelled(error)

    def _end(self, error: BaseException | None = None) -> None:
        self._handled_before = id(sys.exc_info()[1])
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop(was_left=is_short(self))
        if self._loop is not None:
            self._loop.end(error)


def trange(*args: int, **options: Any) -> tqdm:
    """Return ``tqdm(range(*args), **options)``."""
    return tqdm(range(*args), **options)
