"""Iterate over the items of a loop and count them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from ._callers import current_owner
from ._counting import LoopCounter
from ._session import Session

T = TypeVar("T")


def length(iterable: object) -> int | None:
    """Return the number of items, None if it is not known beforehand."""
    try:
        return len(iterable)  # type: ignore[arg-type]  # any object may be given
    except Exception:
        return None


def iterate(iterable: Iterable[T], session: Session, stage: str, counter: LoopCounter) -> Iterator[T]:
    """Yield the items, and count each as done when the next one is asked for.

    Waits before an item while the run is paused. Raises `Cancelled` there when it is cancelled.
    """
    owner = current_owner()
    counter.in_hand = 1
    is_outermost = session.count(stage, counter, owner)
    control, done = session.control, 0
    try:
        for item in iterable:
            if control.is_requested:
                control.hold()
            yield item
            done += 1
            counter.done = done
    except GeneratorExit:
        session.counts.remove(stage, counter, owner, was_left=True)
        raise
    finally:
        if is_outermost:
            session.counts.remove(stage, counter, owner)


def iterate_async(iterable: AsyncIterable[T], session: Session, stage: str, counter: LoopCounter) -> AsyncItems[T]:
    """`iterate` for asynchronous iterables; a pause does not block the event loop."""
    owner = current_owner()
    counter.in_hand = 1

    async def items() -> AsyncGenerator[T, None]:
        is_outermost = session.count(stage, counter, owner)
        control, done = session.control, 0
        try:
            async for item in iterable:
                await control.hold_async()
                yield item
                done += 1
                counter.done = done
        finally:
            if is_outermost:
                session.counts.remove(stage, counter, owner)

    return AsyncItems(items(), on_drop=lambda: session.counts.remove(stage, counter, owner, was_left=True))


class AsyncItems(AsyncIterator[T]):
    """The items of an asynchronous generator.

    ``on_drop`` is called as soon as nothing refers to this iterator. The event loop closes the generator only later.
    """

    def __init__(self, items: AsyncGenerator[T, None], *, on_drop: Callable[[], object]) -> None:
        self._items = items
        self._on_drop = on_drop

    def __anext__(self) -> Awaitable[T]:
        return self._items.__anext__()

    async def aclose(self) -> None:
        await self._items.aclose()

    def drop(self) -> None:
        """Call ``on_drop``."""
        self._on_drop()

    def __del__(self) -> None:
        self.drop()
