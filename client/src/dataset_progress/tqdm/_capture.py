"""Report the bars that libraries make, without changing the libraries: by wrapping methods of tqdm's own class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm.asyncio import tqdm_asyncio as _async
from tqdm.std import tqdm as _std

from dataset_progress._capture import Captures, capture_in_run
from dataset_progress._run import Run

from ._bars import BarFollower, is_short, stage_of

WRAPPED = [(_std, name) for name in ("__init__", "__iter__", "update", "reset", "close")] + [(_async, "__anext__")]
# The attribute of a bar that holds what follows it.
FOLLOWER = "dataset_progress_follower"


@contextmanager
def capture_tqdm(dataset: str, **options: Any) -> Iterator[Run]:
    """Report the bars that any library makes inside the ``with`` block, each as a stage of one run of ``dataset``.

    ``options``: those of `Run`. Yields the run.

    One bar is followed at a time. Bars that open meanwhile, in any thread, are details of it. Hidden bars
    (``disable=True``) are counted too. While the run is paused, the loop waits at its next item or `update`, and
    `Cancelled` is raised there when it is cancelled. A block without a bar ends with "No progress was seen.".
    """
    with capture_in_run(dataset, options) as capture, captures.adding(capture):
        yield capture.run


def _follower_of(bar: Any) -> BarFollower | None:
    """Return what follows ``bar`` for a capture; None if nothing does."""
    follower: BarFollower | None = getattr(bar, FOLLOWER, None)
    return follower if follower is not None and follower.is_following else None


def _reports_itself(bar: Any) -> bool:
    """Return whether ``bar`` is the drop-in."""
    return getattr(bar, "reports_itself", False)


def _wrap() -> Callable[[], None]:
    """Wrap the methods. Return a function that puts them back."""
    originals = [getattr(owner, name) for owner, name in WRAPPED]
    original_init, original_iter, original_update, original_reset, original_close, original_anext = originals

    def init(bar: Any, *args: Any, **options: Any) -> None:
        original_init(bar, *args, **options)
        if _reports_itself(bar) or (capture := captures.newest) is None:
            return
        desc = options.get("desc", args[1] if len(args) > 1 else None)
        if (follower := capture.follow(lambda: BarFollower(capture.run, bar, stage_of(bar, desc)))) is not None:
            setattr(bar, FOLLOWER, follower)

    def iterate(bar: Any) -> Iterator[Any]:
        if (follower := _follower_of(bar)) is None:
            items: Iterator[Any] = original_iter(bar)
            return items
        return follower.iterate(original_iter, bar, lambda _: follower.stop(was_left=is_short(bar)))

    def update(bar: Any, n: float | None = 1) -> bool | None:
        follower: BarFollower | None = getattr(bar, FOLLOWER, None)
        # Often called for each item, so all that is rare is told apart by one look.
        if follower is None or not (follower.control.is_requested or follower.needs_care):
            return original_update(bar, n)  # type: ignore[no-any-return]  # tqdm has no types
        return follower.update(bar, partial(original_update, bar), n)

    def reset(bar: Any, total: float | None = None) -> None:
        if (follower := _follower_of(bar)) is not None:
            follower.stop_for_reset()
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

    def unwrap() -> None:
        for (owner, name), original in zip(WRAPPED, originals, strict=True):
            setattr(owner, name, original)

    return unwrap


captures = Captures(_wrap)
