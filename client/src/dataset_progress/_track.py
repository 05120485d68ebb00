"""`track`, with which a loop is a run in two lines."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar, overload

from . import _outer
from ._api import Server
from ._callers import current_owner
from ._ids import reported_id
from ._iterating import AsyncItems
from ._run import Run, entered_run, session_of
from ._settings import linger_seconds, shared_key
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
    """Iterate over ``iterable``, as a stage of the run of ``dataset``.

    ``total``: the number of items; default: the iterable's length, if it has one. ``options``: those of `Run`, and
    ``linger``: for how many seconds the run waits for another loop, of which it would be the run too; default:
    ``DATASET_PROGRESS_LINGER``, else 2; with a ``key``, until the program ends.

    The run ends with the program, or once no other loop has begun for ``linger``. A loop that is left early ends it as
    ready, with how far the loop was; an exception that leaves the program, a notebook's cell or a task is an error. All
    loops of this process over one dataset are one run, also in several threads or tasks. A loop inside such a loop is a
    part of what that one counts. Inside the ``with`` block of a `Run` of the dataset, the loop is a stage of that run.

    Never waits for the server. May wait and raise `Cancelled` at an item, as `Run.track` does.
    """
    if not Server.find(options.get("url")).url:
        return _run_of(dataset, options).track(iterable)
    if isinstance(iterable, AsyncIterable):
        return _iterate_async(iterable, TrackedLoop(dataset, options), stage, total)
    return _iterate(iterable, dataset, stage, total, options)


def _iterate(
    iterable: Iterable[T], dataset: str, stage: str, total: int | None, options: dict[str, Any]
) -> Iterator[T]:
    loop = TrackedLoop(dataset, options)
    if loop.run is None:
        yield from iterable
        return
    try:
        yield from loop.run.track(iterable, stage=stage, total=total)
    except GeneratorExit:
        loop.end()
        raise
    except BaseException as error:
        loop.end(error)
        raise
    loop.end()


def _iterate_async(iterable: AsyncIterable[T], loop: TrackedLoop, stage: str, total: int | None) -> AsyncItems[T]:
    items = iterable if loop.run is None else loop.run.track(iterable, stage=stage, total=total)

    def leave() -> None:
        if isinstance(items, AsyncItems):
            items.drop()
        loop.end()

    return AsyncItems(_until_end(items, loop), on_drop=leave)


async def _until_end(items: AsyncIterable[T], loop: TrackedLoop) -> AsyncGenerator[T, None]:
    try:
        async for item in items:
            yield item
    except GeneratorExit:
        loop.end()
        raise
    except BaseException as error:
        loop.end(error)
        raise
    loop.end()


class _LoopGroup:
    """The loops over one dataset in this process, one after the other or side by side. They are one run.

    ``owns_run``: False if the loops are stages of a `Run` of the caller. ``owners``: who runs the loops under way.
    """

    def __init__(self, run: Run, *, owns_run: bool) -> None:
        self.run = run
        self.owns_run = owns_run
        self.owners: set[object] = set()
        self._error: BaseException | None = None

    def begin_loop(self, owner: object) -> None:
        session = session_of(self.run)
        session.hold_if_uncertain()
        self.owners.add(owner)
        _outer.enter(session.settings.dataset_id, session.settings.server)
        if self.owns_run:
            session.watch_loop()

    def end_loop(self, owner: object, error: BaseException | None, linger: float) -> None:
        """End a loop. The last one lets the run end in ``linger`` seconds, with the first error of those beside it."""
        session = session_of(self.run)
        if owner in self.owners:
            self.owners.remove(owner)
            _outer.leave(session.settings.dataset_id, session.settings.server)
        self._error = self._error or error
        if not self.owners and self.owns_run:
            session.linger(linger, self._error)
            self._error = None

    @property
    def is_needed(self) -> bool:
        """Whether another loop may count in its run."""
        session = session_of(self.run)
        return session.is_enabled and not session.is_closed


_lock = threading.RLock()  # reentrant, because the garbage collector may end a loop while its thread holds the lock
_groups: dict[object, _LoopGroup] = {}


class TrackedLoop:
    """One loop over a dataset. ``options``: those of `track`.

    ``run``: the run it counts in; None inside another loop of its thread, or once ended.
    """

    def __init__(self, dataset_id: str, options: dict[str, Any]) -> None:
        server = Server.find(options.get("url"), options.get("token"))
        dataset_id = reported_id(dataset_id) or ""
        key = dataset_id, server, str(options.get("key")), str(options.get("worker"))
        self._options = options
        self._owner = current_owner()
        self._group: _LoopGroup | None = None
        self._has_ended = False
        with _lock:
            group = _groups.get(key)
            if group is not None and self._owner in group.owners and not session_of(group.run).is_closed:
                return
            if _outer.is_within_loop(dataset_id, server):
                return
            if group is None or not session_of(group.run).take_loop():
                group = _groups[key] = _new_group(dataset_id, server, options)
            group.begin_loop(self._owner)
            self._group = group

    @property
    def run(self) -> Run | None:
        return None if self._group is None or self._has_ended else self._group.run

    def end(self, error: BaseException | None = None) -> None:
        """End the loop, with ``error`` if it failed. Ending it again only adds an error that is known later."""
        with _lock:
            if self._group is None or (self._has_ended and (error is None or self._group.owners)):
                return
            self._has_ended = True
            self._group.end_loop(self._owner, error, _linger_of(self._options))


def _new_group(dataset_id: str, server: Server, options: dict[str, Any]) -> _LoopGroup:
    """Return a group of the `Run` around the loop, else of a new run; and forget groups whose run has ended."""
    for key in [key for key, group in _groups.items() if not group.is_needed]:
        del _groups[key]
    if (around := entered_run(dataset_id, server)) is not None:
        return _LoopGroup(around, owns_run=False)
    return _LoopGroup(_run_of(dataset_id, options), owns_run=True)


def _linger_of(options: dict[str, Any]) -> float:
    """Return for how many seconds the run waits for another loop after one with these options."""
    linger: float | None = options.get("linger")
    # A run with a key is over for good once it has ended, so it waits for the end of the program.
    if linger is None and shared_key(options.get("key")) is not None:
        return math.inf
    return linger_seconds(linger)


def _run_of(dataset_id: str, options: dict[str, Any]) -> Run:
    """Return a new run with ``options``, which are those of `track`. It has no plan: more loops may follow."""
    of_run = {name: value for name, value in options.items() if name != "linger"}
    return Run(dataset_id, **{"shares_end": True, **of_run})


def _after_fork_in_child() -> None:
    """Replace the lock, which another thread may have held."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
