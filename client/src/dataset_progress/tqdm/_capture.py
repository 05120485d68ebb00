"""Report the bars that libraries make, without changing the libraries: by wrapping methods of tqdm's own class."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from tqdm.asyncio import tqdm_asyncio as _async
from tqdm.std import tqdm as _std

from dataset_progress import _outer
from dataset_progress._run import Run, session_of

from ._bars import BarFollower, is_short, stage_of

WRAPPED = [(_std, name) for name in ("__init__", "__iter__", "update", "reset", "close")] + [(_async, "__anext__")]
# The attribute of a bar that holds what follows it.
FOLLOWER = "dataset_progress_follower"


class _Capture:
    """Follows one bar at a time, the outermost. Bars that open meanwhile are details of what it counts."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._follower: BarFollower | None = None

    def on_opened(self, bar: Any, desc: object) -> None:
        with _lock:
            if (current := self._follower) is not None and current.is_following:
                if not current.counter.is_over:
                    return
                current.stop()
            settings = session_of(self._run).settings
            if _outer.is_within_loop(settings.dataset_id, settings.server):
                return
            self._follower = BarFollower(self._run, bar, stage_of(bar, desc))
            setattr(bar, FOLLOWER, self._follower)


_lock = threading.RLock()
_captures: list[_Capture] = []


@contextmanager
def capture_tqdm(dataset: str, **options: Any) -> Iterator[Run]:
    """Report the bars that any library makes inside the ``with`` block, each as a stage of one run of ``dataset``.

    ``options``: those of `Run`. Yields the run.

    One bar is followed at a time. Bars that open meanwhile, in any thread, are details of it. Hidden bars
    (``disable=True``) are counted too. While the run is paused, the loop waits at its next item or `update`, and
    `Cancelled` is raised there when it is cancelled.
    """
    with Run(dataset, **options) as run:
        capture = _Capture(run)
        with _lock:
            if not _captures:
                _wrap()
            _captures.append(capture)
        try:
            yield run
        except CancelledError:
            session_of(run).control.raise_if_cancelled()
            raise
        finally:
            with _lock:
                _captures.remove(capture)
                if not _captures:
                    _unwrap()


_originals: list[Callable[..., Any]] = []


def _unwrap() -> None:
    for (owner, name), original in zip(WRAPPED, _originals, strict=True):
        setattr(owner, name, original)


def _follower_of(bar: Any) -> BarFollower | None:
    """Return what follows ``bar`` for a capture; None if nothing does."""
    follower: BarFollower | None = getattr(bar, FOLLOWER, None)
    return follower if follower is not None and follower.is_following else None


def _reports_itself(bar: Any) -> bool:
    """Return whether ``bar`` is the drop-in."""
    return getattr(bar, "reports_itself", False)


def _wrap() -> None:
    _originals[:] = [getattr(owner, name) for owner, name in WRAPPED]
    original_init, original_iter, original_update, original_reset, original_close, original_anext = _originals

    def init(bar: Any, *args: Any, **options: Any) -> None:
        original_init(bar, *args, **options)
        for capture in () if _reports_itself(bar) else _captures[-1:]:
            capture.on_opened(bar, options.get("desc", args[1] if len(args) > 1 else None))

    def iterate(bar: Any) -> Iterator[Any]:
        follower = _follower_of(bar)
        try:
            yield from original_iter(bar) if follower is None else follower.iterate(original_iter(bar), bar)
        finally:
            if follower is not None:
                follower.stop()

    def update(bar: Any, n: float | None = 1) -> bool | None:
        follower = _follower_of(bar)
        if follower is not None and follower.is_item_cancelled():
            return None
        was_drawn: bool | None = original_update(bar, n)
        if follower is not None:
            if bar.disable:
                follower.count_by_hand(n)
            follower.check_control()
        return was_drawn

    def reset(bar: Any, total: float | None = None) -> None:
        if (follower := _follower_of(bar)) is not None:
            follower.stop()
        original_reset(bar, total)
        if follower is not None:
            follower.start(bar)

    def close(bar: Any) -> None:
        if (follower := _follower_of(bar)) is not None:
            follower.stop(was_left=is_short(bar))
        original_close(bar)

    async def next_item(bar: Any) -> Any:
        item = await original_anext(bar)
        if (follower := _follower_of(bar)) is not None:
            await follower.hold_async()
        return item

    for (owner, name), wrapped in zip(WRAPPED, (init, iterate, update, reset, close, next_item), strict=True):
        setattr(owner, name, wrapped)


def _after_fork_in_child() -> None:
    """Replace the lock, which another thread may have held."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
