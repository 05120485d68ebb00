"""Reports the bars that libraries make, without changing the libraries: the methods of tqdm's own bar are wrapped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.std import tqdm as _std

from dataset_progress._run import Run

from ._bars import Follower, stage_of

WRAPPED = ("__init__", "__iter__", "update", "reset", "close")


class _Capture:
    """Follows one bar at a time: the outermost. Bars that are opened meanwhile are details of what it counts."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._followed: Follower | None = None

    def opened(self, bar: Any, desc: object) -> None:
        with _lock:
            if (before := self._followed) is not None and before.is_following:
                if not before.cell.is_over:
                    return
                before.stop()
            self._followed = bar._dataset_progress = Follower(self._run, bar, stage_of(bar, desc))


_lock = threading.RLock()
_captures: list[_Capture] = []


@contextmanager
def capture_tqdm(dataset: str, **options: Any) -> Iterator[Run]:
    """Report the bars that are made in the block, by whatever library, each as a stage of one run.

    One bar is followed at a time: those that are opened while it is, in whatever thread, are details of it. Bars that
    are not shown (``disable=True``) are counted too. A pause holds the loop at its next item, or `update`, and a
    cancellation raises `Cancelled` there. ``options`` are those of `Run`.
    """
    with Run(dataset, **options) as run:
        capture = _Capture(run)
        with _lock:
            if not _captures:
                _wrap()
            _captures.append(capture)
        try:
            yield run
        finally:
            with _lock:
                _captures.remove(capture)
                if not _captures:
                    _unwrap()


_originals: dict[str, Callable[..., Any]] = {}


def _unwrap() -> None:
    for name in WRAPPED:
        setattr(_std, name, _originals[name])


def _follower(bar: Any) -> Follower | None:
    """What follows ``bar``; None where it is a detail, ours, or was there before."""
    follower: Follower | None = getattr(bar, "_dataset_progress", None)
    return follower if follower is not None and follower.is_following else None


def _is_ours(bar: Any) -> bool:
    """Whether it is the drop-in, which reports for itself."""
    return hasattr(bar, "_follower")


def _wrap() -> None:
    _originals.update({name: getattr(_std, name) for name in WRAPPED})
    begin, go, count, again, close = (_originals[name] for name in WRAPPED)

    def opened(bar: Any, *args: Any, **values: Any) -> None:
        begin(bar, *args, **values)
        for capture in () if _is_ours(bar) else _captures[-1:]:
            capture.opened(bar, values.get("desc", args[1] if len(args) > 1 else None))

    def through(bar: Any) -> Iterator[Any]:
        follower = _follower(bar)
        try:
            yield from go(bar) if follower is None else follower.through(go(bar), bar)
        finally:
            if follower is not None:
                follower.stop()

    def counted(bar: Any, n: float | None = 1) -> bool | None:
        if bar.disable and not _is_ours(bar):
            bar.n += n or 0
        told: bool | None = count(bar, n)
        if (follower := _follower(bar)) is not None:
            follower.hold()
        return told

    def reset(bar: Any, total: float | None = None) -> None:
        if (follower := _follower(bar)) is not None:
            follower.stop()
        again(bar, total)
        if follower is not None:
            follower.start(bar)

    def closed(bar: Any) -> None:
        if (follower := _follower(bar)) is not None:
            follower.stop()
        close(bar)

    for name, wrapped in zip(WRAPPED, (opened, through, counted, reset, closed), strict=True):
        setattr(_std, name, wrapped)


def _in_child() -> None:
    """In a forked process, which may have been forked while another thread held the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
