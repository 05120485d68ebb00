"""A loop that is a run, in two lines."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar, overload

from . import _processes
from ._api import Server
from ._counting import STATES, AsyncItems, looper
from ._run import Run

T = TypeVar("T")


class Loops:
    """The loops over one dataset that go on side by side in this process, in threads or tasks: they are one run.

    It ends with the last of them; one that failed, or was left early, makes it fail.
    """

    def __init__(self, run: Run, *, owns: bool) -> None:
        self.run = run
        self._owns = owns
        self.loopers: set[object] = set()
        self.error: BaseException | None = None
        self.was_left = False

    def end(self) -> None:
        """The last of the loops has ended."""
        if self._owns and self.was_left and self.error is None:
            self.run._leave()
        elif self._owns:
            self.run.close(self.error)


_lock = threading.RLock()  # a loop that is thrown away ends in whatever its thread is at
_loops: dict[tuple[str, Server], Loops] = {}


class Loop:
    """One of them. ``loops``: those that it is one of; None where it goes on within another, which counts it all."""

    def __init__(self, dataset: str, stage: str, options: dict[str, Any]) -> None:
        self._key = dataset, Server.find(options.get("url"), options.get("token"))
        self._looper = looper()
        self.loops: Loops | None = None
        with _lock:
            loops = _loops.get(self._key)
            if loops is None or loops.run._is_closed:
                around = next((run for run in _processes.kept() if run._is_around(*self._key)), None)
                run = around or Run(dataset, stages=[stage], **options)
                loops = _loops[self._key] = Loops(run, owns=around is None)
            elif self._looper in loops.loopers:
                return
            loops.loopers.add(self._looper)
            self.loops = loops

    def left(self) -> None:
        """The loop was left early. Nothing where it has ended."""
        if self.loops is not None:
            self.loops.was_left = True
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """The loop has ended, by ``error`` or not. Ending it again does nothing."""
        with _lock:
            loops, self.loops = self.loops, None
            if loops is None:
                return
            loops.error = loops.error or error
            loops.loopers.discard(self._looper)
            if loops.loopers:
                return
            if _loops.get(self._key) is loops:
                del _loops[self._key]
        loops.end()


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
    """The items of ``iterable``; going through them is a run of ``dataset``, with one stage.

    The dataset is ready when they are through. A loop that is left early cannot tell why: its run fails, with the
    exception that the program dies of, else a few seconds later with how far it was. Loops of one dataset in several
    threads or tasks are one run; a loop within such a loop is a part of what that one counts. Within an open `Run` of
    the dataset it is a stage of that run. ``options`` are those of `Run`.
    """
    if not Server.find(options.get("url")).url:
        return Run(dataset, **options).track(iterable)
    if isinstance(iterable, AsyncIterable):
        loop = Loop(dataset, stage, options)
        return AsyncItems(_through_async(iterable, loop, stage, total), loop.left)
    return _through(iterable, dataset, stage, total, options)


def _through(
    iterable: Iterable[T], dataset: str, stage: str, total: int | None, options: dict[str, Any]
) -> Iterator[T]:
    loop = Loop(dataset, stage, options)
    if loop.loops is None:
        yield from iterable
        return
    try:
        yield from loop.loops.run.track(iterable, stage=stage, total=total)
    except GeneratorExit:
        loop.left()
        raise
    except BaseException as error:
        loop.end(error)
        raise
    loop.end()


async def _through_async(
    iterable: AsyncIterable[T], loop: Loop, stage: str, total: int | None
) -> AsyncGenerator[T, None]:
    items = iterable if loop.loops is None else loop.loops.run.track(iterable, stage=stage, total=total)
    try:
        async for item in items:
            yield item
    except GeneratorExit:
        loop.left()
        raise
    except BaseException as error:
        await asyncio.to_thread(loop.end, error)
        raise
    await asyncio.to_thread(loop.end)


def _in_child() -> None:
    """In a forked process, which may have been forked while another thread held the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
