"""Count what a bar of tqdm counts, as a stage of a run."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from inspect import isawaitable, iscoroutine
from time import time
from typing import Any

from dataset_progress import _outer
from dataset_progress import _values as values
from dataset_progress._callers import future_of_callback
from dataset_progress._control import Control
from dataset_progress._counting import Words
from dataset_progress._errors import Cancelled
from dataset_progress._run import Run, session_of
from dataset_progress._stages import label_of_description, stage_of_description

from ._executors import executor_of_map

# The control of a bar that nobody follows.
NOTHING_ASKED = Control("", lambda: 0.0, obeys=False)


def stage_of(bar: Any, desc: object = None) -> str:
    """Return the stage for a bar: its description, or ``desc`` for a hidden bar, which does not keep its own."""
    return stage_of_description(str(getattr(bar, "desc", "") or desc or ""))


def _text_of(bar: Any, name: str) -> str:
    """Return an attribute of the bar that is a text; "" if it has none."""
    return values.text(value, 1000) if isinstance(value := getattr(bar, name, None), str) else ""


def is_short(bar: Any) -> bool:
    """Return whether the bar has counted less than its total."""
    return bool(bar.total and bar.n < bar.total)


def _scale_of(bar: Any) -> float:
    """Return what the bar multiplies its numbers by to show them in its unit."""
    scale = getattr(bar, "unit_scale", False)
    return 1 if isinstance(scale, bool) else values.number(scale) or 1


class BarCounter:
    """Counts what a bar counts.

    ``in_loop``: the items of the bar's own loop, which the bar itself counts only from time to time. ``by_hand``: what
    `update` has added to a hidden bar, which does not count at all. ``is_reset``: whether the bar begins anew, so that
    what it has counted was all that there was.
    """

    # A loop writes to `in_loop` for each item.
    __slots__ = (
        "_bar", "_done", "_initial", "_is_fractional", "_scale", "_total", "_words", "by_hand", "in_hand", "in_loop",
        "is_reset",
    )  # fmt: skip

    def __init__(self, bar: Any) -> None:
        self._bar = weakref.ref(bar)
        self._scale = _scale_of(bar)
        self._initial = bar.n
        self.in_hand = 0
        self.in_loop: float = 0
        self.by_hand: float = 0
        self.is_reset = False
        self._is_fractional = False
        self._done: float = 0
        self._total: float | None = None
        self._words = Words()

    @property
    def is_over(self) -> bool:
        """Whether the bar is complete or gone, even if nobody has closed it."""
        return self._bar() is None or bool(self.total and self.done >= self.total)

    @property
    def done(self) -> float:
        if (bar := self._bar()) is not None:
            by_hand = self.by_hand if bar.n == self._initial else 0
            self._done = max(values.number(self.in_loop) or 0, (values.number(bar.n) or 0) + by_hand) * self._scale
        return self._done

    @property
    def total(self) -> float | None:
        if self.is_reset:
            return self.done
        if (bar := self._bar()) is not None:
            total = values.number(bar.total)
            self._total = None if total is None else total * self._scale
        return self._total

    @property
    def is_fractional(self) -> bool:
        """Whether a fraction has been seen."""
        if not self._is_fractional:
            self._is_fractional = self.done % 1 != 0 or (self.total or 0) % 1 != 0
        return self._is_fractional

    @property
    def words(self) -> Words:
        """The description of the bar, its unit and its postfix."""
        if (bar := self._bar()) is not None:
            label, unit, message = (_text_of(bar, name) for name in ("desc", "unit", "postfix"))
            self._words = Words(label_of_description(label), "" if unit == "it" else unit, message)
        return self._words


def _held(item: Any, control: Control) -> Any:
    """Wait while the run is paused, and return the item of a loop. Raises `Cancelled`.

    An event loop does not wait: an item of `asyncio.as_completed` waits when it is awaited.
    """
    try:
        control.hold()
    except Cancelled:
        if iscoroutine(item):
            item.close()  # nobody will await it
        raise
    return control.after_hold(item) if control.is_paused and isawaitable(item) else item


class BarFollower:
    """Reports one bar as a stage of ``run``, until it is stopped. ``is_iterating``: whether its own loop has begun.

    ``needs_care``: whether the bar is to be updated by `update` even if nothing is asked of the job.
    """

    def __init__(self, run: Run, bar: Any, stage: str) -> None:
        self.run = run
        self._session = session_of(run)
        self.control = self._session.control
        self._stage = stage
        self.is_iterating = False
        self._executor = executor_of_map()
        # A hidden bar does not count by itself, and one of a map would count the items that were never begun.
        self.needs_care = bool(bar.disable) or self._executor is not None
        self._has_shut_down = False
        self.start(bar)

    def start(self, bar: Any) -> None:
        """Count what the bar counts from now on, in addition to what it has counted before."""
        self.counter = BarCounter(bar)
        self.is_following = True
        self._session.hold_if_uncertain()
        _outer.enter(self._session.settings.dataset_id, self._session.settings.server)
        # The counter is its own owner, because two bars of one thread both count.
        self._session.count(self._stage, self.counter, owner=self.counter)

    @property
    def is_over(self) -> bool:
        """Whether the bar is complete or gone, even if nobody has closed it."""
        return self.counter.is_over

    def stop(self, *, was_left: bool = False) -> None:
        """Keep what the bar has counted, and stop counting. Repeating it is harmless."""
        if self.is_following:
            _outer.leave(self._session.settings.dataset_id, self._session.settings.server)
        self.is_following = False
        self._session.counts.remove(self._stage, self.counter, owner=self.counter, was_left=was_left)

    def stop_for_reset(self) -> None:
        """Stop, because the bar is reset. `start` begins anew."""
        self.counter.is_reset = True
        self.stop()

    def update(self, bar: Any, update: Callable[[float | None], bool | None], n: float | None) -> bool | None:
        """``update`` a bar that is hidden, or whose run is paused or cancelled."""
        if not self.is_following:
            return update(n)
        if self._is_item_cancelled():
            return None
        was_drawn = update(n)
        if bar.disable:  # it does not count
            self.counter.by_hand += values.number(n) or 0
        if not self.is_iterating:
            self._check_control()
        return was_drawn

    def _check_control(self) -> None:
        """Wait while the run is paused, unless that would block an event loop.

        Raises `Cancelled`, but not in the callback of a future, where that would be lost: it cancels what waits there.
        """
        control = self.control
        if not control.is_requested:
            return
        if (executor := self._executor) is None or not control.is_cancelled or future_of_callback() is None:
            control.hold()
        elif not self._has_shut_down:
            self._has_shut_down = True
            executor.shutdown(wait=False, cancel_futures=True)

    def _is_item_cancelled(self) -> bool:
        """Return whether this is called because an item was cancelled, and not because it is done."""
        if self._executor is None and not self.control.is_cancelled:
            return False
        future = future_of_callback()
        return future is not None and future.cancelled()

    def raise_if_cancelled(self, error: object) -> None:
        """Raise `Cancelled` in place of ``error``, if that comes from the items that were cancelled."""
        if isinstance(error, CancelledError):
            self.control.raise_if_cancelled()

    async def hold_async(self) -> None:
        """Wait while the run is paused. Raises `Cancelled`."""
        await self.control.hold_async()

    def iterate(
        self, iterate: Callable[[Any], Iterator[Any]], bar: Any, on_end: Callable[[BaseException | None], object]
    ) -> Iterator[Any]:
        """Return the items of the bar's loop. Each counts as done when the next one is asked for.

        ``iterate``: how the bar iterates while nobody follows it. Calls ``on_end`` at the end, with the exception of
        the items, or None. Bars return this as their iterator: what lies between would cost the loop time for each
        item.
        """
        # An iterator around that of tqdm would cost more than all that is done here.
        if iterate.__module__ == "tqdm.std" and not bar.disable:
            return self._draw(bar, on_end)
        return self._count(iterate(bar), bar, on_end)

    def _draw(self, bar: Any, on_end: Callable[[BaseException | None], object]) -> Iterator[Any]:
        """Yield the items, and let the bar draw itself as often as it wants to."""
        counter, control, done = self.counter, self.control, bar.n
        clock, drawn, drawn_at = getattr(bar, "_time", time), bar.last_print_n, bar.last_print_t
        pause, start = bar.mininterval, bar.start_t + bar.delay
        try:
            with self._iterating(on_end):
                try:
                    for item in bar.iterable:
                        yield _held(item, control) if control.is_requested else item
                        done += 1
                        counter.in_loop = done
                        if done - drawn >= bar.miniters and (now := clock()) - drawn_at >= pause and now >= start:
                            bar.update(done - drawn)
                            drawn, drawn_at = bar.last_print_n, bar.last_print_t
                finally:
                    bar.n = done
        finally:
            bar.close()

    def _count(self, items: Iterator[Any], bar: Any, on_end: Callable[[BaseException | None], object]) -> Iterator[Any]:
        """Yield ``items``, which are those of the bar."""
        counter, control, done = self.counter, self.control, bar.n
        with self._iterating(on_end):
            for item in items:
                yield _held(item, control) if control.is_requested else item
                done += 1
                counter.in_loop = done

    @contextmanager
    def _iterating(self, on_end: Callable[[BaseException | None], object]) -> Iterator[None]:
        """Be in the bar's loop."""
        self.is_iterating = True
        self.counter.in_hand = 1
        error: BaseException | None = None
        try:
            yield
        except GeneratorExit:
            self.stop(was_left=True)
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.counter.in_hand = 0
            on_end(error)
