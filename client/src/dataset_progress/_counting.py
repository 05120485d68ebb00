"""What is counted, by whom, and read by the thread that reports it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from . import _values as values

T = TypeVar("T")

# The two working states; a stage of that name needs no other words.
STATES = ("indexing", "embedding")
MOST_STAGES = 64
# Failures that wait to be reported; of more, the count alone is kept.
FAILURES_KEPT = 1000


@dataclass(frozen=True)
class Stage:
    """A stage of a run. ``total``: how many items it has, if that is known; ``weight``: its share of the whole run;
    ``counts_as``: the working state as which it is shown; ``label``: its name for people, if that is another;
    ``unit``: what is counted, in the plural.
    """

    name: str
    total: int | None = None
    weight: float = 1.0
    counts_as: Literal["indexing", "embedding"] | None = None
    label: str | None = None
    unit: str = "items"

    def _body(self) -> dict[str, Any]:
        name = stage_name(self.name)
        is_plain = name in STATES
        counts_as = self.counts_as if self.counts_as in STATES else name if is_plain else STATES[0]
        label = ("" if is_plain else name) if self.label is None else self.label
        return {
            "name": name,
            "total": values.count(self.total),
            "weight": values.weight(self.weight),
            "counts_as": counts_as,
            "label": values.name(label, 100, ""),
            "unit": values.name(self.unit, 32, "items"),
        }


def stage_name(name: object) -> str:
    """The name of a stage as the server knows it."""
    return values.name(name, 64, STATES[0])


def plan(stages: Iterable[Stage | str]) -> list[dict[str, Any]]:
    """The stages of a run, each of them once, and no more than the server takes."""
    bodies = [(stage if isinstance(stage, Stage) else Stage(stage))._body() for stage in stages]
    return list({body["name"]: body for body in reversed(bodies)}.values())[::-1][:MOST_STAGES]


class Counter(Protocol):
    """Something that counts, and is read from another thread."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int | None: ...


class Cell:
    """What one loop has done. It alone writes here, so it needs no lock."""

    __slots__ = ("done", "total")

    def __init__(self, total: int | None = None) -> None:
        self.done = 0
        self.total = total


class ThreadCell(Cell):
    """What one thread has done by `Run.advance`."""

    __slots__ = ("thread",)

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.current_thread()


@dataclass
class Share:
    """What this process has done of a stage."""

    base: int = 0
    base_total: int | None = None
    cells: list[Counter] = field(default_factory=list)
    loopers: set[object] = field(default_factory=set)
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.base + sum(values.count(cell.done) for cell in self.cells)

    @property
    def total(self) -> int | None:
        """Of how much; None where nothing is known of it."""
        of_cells = [values.count(total) for cell in self.cells if (total := cell.total) is not None]
        if self.base_total is None and not of_cells:
            return None
        return max(0, (self.base_total or 0) + sum(of_cells))

    def set(self, done: int | None, total: int | None) -> None:
        """Say how much is done, of how much, whatever was counted."""
        if done is not None:
            self.base += values.count(done) - self.done
        if total is not None:
            self.base_total = (self.base_total or 0) + values.count(total) - (self.total or 0)  # below 0, if need be

    def fold(self, cell: Counter) -> None:
        """Keep what a counter that is over has counted, without it."""
        if cell in self.cells:
            self.cells.remove(cell)
            self.base += values.count(cell.done)
            if cell.total is not None:
                self.base_total = (self.base_total or 0) + values.count(cell.total)

    def fold_ended_threads(self) -> None:
        for cell in [cell for cell in self.cells if isinstance(cell, ThreadCell) and not cell.thread.is_alive()]:
            self.fold(cell)

    def fail(self, item: object, reason: object) -> None:
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append((values.item(item), values.text(reason, 500)))


def task() -> asyncio.Task[object] | None:
    """The task that runs here, if one does."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def looper() -> object:
    """Who goes through a loop: the task that runs here, else the thread."""
    return task() or threading.get_ident()


class AsyncItems(AsyncIterator[T]):
    """The items of an asynchronous generator. ``left`` is called at once when nobody can ask for more of them: the
    generator itself is told of that by the event loop, some time later.
    """

    def __init__(self, items: AsyncGenerator[T, None], left: Callable[[], object]) -> None:
        self._items = items
        self._left = left

    def __anext__(self) -> Awaitable[T]:
        return self._items.__anext__()

    async def aclose(self) -> None:
        await self._items.aclose()

    def __del__(self) -> None:
        self._left()
