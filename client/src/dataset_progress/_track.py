"""`track`, with which a loop is a run in two lines."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar, overload

from ._api import Server
from ._iterating import AsyncItems, current_owner
from ._run import Run, entered_run, session_of
from ._stages import STATES

__all__ = ["track"]

T = TypeVar("T")


@overload
def track(
    iterable: Iterable[T], *, dataset: str, stage: str = STATES[0], total: int | None = None, **options: Any
) -> Iterator[T]: ...
@overload
def track(
    iterable: AsyncIterable[T], *, dataset: str, stage: str = STATES[0], total: int | None = None, **options: Any
) -> AsyncIterator[T]: ...


def track(
    iterable: Iterable[T] | AsyncIterable[T],
    *,
    dataset: str,
    stage: str = STATES[0],
    total: int | None = None,
    **options: Any,
) -> Iterator[T] | AsyncIterator[T]:
    """Iterate over ``iterable``, as a run of ``dataset`` with one stage.

    ``total``: the number of items; default: the iterable's length, if it has one. ``options``: those of `Run`.

    The dataset is ready when the loop is through. If the loop is left early, the run fails: with the exception that the
    program dies of, else a few seconds later with how far the loop was. Loops over one dataset in several threads or
    tasks are one run. A loop inside such a loop is a part of what that one counts. Inside the ``with`` block of a `Run`
    of the dataset, the loop is a stage of that run.

    May wait and raise `Cancelled` at an item, as `Run.track` does.
    """
    if not Server.find(options.get("url")).url:
        return Run(dataset, **options).track(iterable)
    if isinstance(iterable, AsyncIterable):
        loop = TrackedLoop(dataset, stage, options)
        return AsyncItems(_iterate_async(iterable, loop, stage, total), on_drop=loop.leave)
    return _iterate(iterable, dataset, stage, total, options)


def _iterate(
    iterable: Iterable[T], dataset: str, stage: str, total: int | None, options: dict[str, Any]
) -> Iterator[T]:
    loop = TrackedLoop(dataset, stage, options)
    if loop.run is None:
        yield from iterable
        return
    try:
        yield from loop.run.track(iterable, stage=stage, total=total)
    except GeneratorExit:
        loop.leave()
        raise
    except BaseException as error:
        loop.end(error)
        raise
    loop.end()


async def _iterate_async(
    iterable: AsyncIterable[T], loop: TrackedLoop, stage: str, total: int | None
) -> AsyncGenerator[T, None]:
    items = iterable if loop.run is None else loop.run.track(iterable, stage=stage, total=total)
    try:
        async for item in items:
            yield item
    except GeneratorExit:
        loop.leave()
        raise
    except BaseException as error:
        await asyncio.to_thread(loop.end, error)
        raise
    await asyncio.to_thread(loop.end)


class _LoopGroup:
    """The loops over one dataset that run side by side in this process, in threads or tasks. They are one run.

    It ends with the last of them, and fails if one of them failed or was left early. ``owns_run``: False if the loops
    are stages of a `Run` of the caller.
    """

    def __init__(self, run: Run, *, owns_run: bool) -> None:
        self.run = run
        self.owns_run = owns_run
        self.owners: set[object] = set()
        self.error: BaseException | None = None
        self.was_left = False

    def end(self) -> None:
        """End the run after the last loop."""
        if not self.owns_run:
            return
        if self.was_left and self.error is None:
            session_of(self.run).abandon()
        else:
            self.run.close(self.error)


_lock = threading.RLock()  # reentrant, because the garbage collector may end a loop while its thread holds the lock
_groups: dict[tuple[str, Server], _LoopGroup] = {}


class TrackedLoop:
    """One loop over a dataset. ``run``: the run it counts in; None inside another loop of its thread, or once ended."""

    def __init__(self, dataset_id: str, stage: str, options: dict[str, Any]) -> None:
        server = Server.find(options.get("url"), options.get("token"))
        self._key = dataset_id, server
        self._owner = current_owner()
        self._group: _LoopGroup | None = None
        with _lock:
            group = _groups.get(self._key)
            if group is None or session_of(group.run).is_closed:
                around = entered_run(dataset_id, server)
                run = around or Run(dataset_id, stages=[stage], **options)
                group = _groups[self._key] = _LoopGroup(run, owns_run=around is None)
            elif self._owner in group.owners:
                return
            group.owners.add(self._owner)
            self._group = group

    @property
    def run(self) -> Run | None:
        return None if self._group is None else self._group.run

    def leave(self) -> None:
        """End the loop, which was left early. Does nothing if it has ended."""
        if self._group is not None:
            self._group.was_left = True
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """End the loop, with ``error`` if it failed. Ending it again does nothing."""
        with _lock:
            group, self._group = self._group, None
            if group is None:
                return
            group.error = group.error or error
            group.owners.discard(self._owner)
            if group.owners:
                return
            if _groups.get(self._key) is group:
                del _groups[self._key]
        group.end()


def _after_fork_in_child() -> None:
    """Replace the lock, which another thread may have held."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
