"""What people ask of the job: to run, to pause or to cancel."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ._callers import is_in_callback, is_in_event_loop
from ._errors import Cancelled

T = TypeVar("T")

# A pause ends if the server has not answered for this long: it could not pass on Resume either.
MAX_UNCONFIRMED_PAUSE_SECONDS = 60.0
POLL_SECONDS = 0.1


class Control:
    """The last control that the server answered. The sender's thread writes it, loops read it.

    ``is_requested``: whether a pause or a cancellation is requested. A loop reads it for each item, so it is a plain
    attribute. It is never set if the job does not obey. ``is_unstoppable``: whether the job was to be stopped where
    nothing stops it. ``raised_at``: when `Cancelled` was raised first, None if it was not.
    """

    __slots__ = (
        "_action", "_cancelled_at", "_clock", "_confirmed_at", "_dataset_id", "_obeys", "is_requested",
        "is_unstoppable", "raised_at",
    )  # fmt: skip

    def __init__(self, dataset_id: str, clock: Callable[[], float], *, obeys: bool) -> None:
        self._dataset_id = dataset_id
        self._clock = clock
        self._obeys = obeys
        self.reset()

    def reset(self) -> None:
        """Forget what was asked, as a forked process does: its server has not answered it yet."""
        self._action = "run"
        self._confirmed_at = self._cancelled_at = self._clock()
        self.is_requested = self.is_unstoppable = False
        self.raised_at: float | None = None

    @property
    def is_paused(self) -> bool:
        return self._action == "pause"

    def update(self, action: str) -> None:
        """Set the control to ``run``, ``pause`` or ``cancel``, as the server has just answered."""
        if action == "cancel" and self._action != "cancel":
            self._cancelled_at = self._clock()
        self._action = action
        self._confirmed_at = self._clock()
        self.is_requested = self._obeys and action in ("pause", "cancel")

    def end_pause(self) -> None:
        """Let a paused job continue, because nobody could tell it to resume any more."""
        if self.is_paused:
            self._action = "run"
            self.is_requested = False

    def must_wait(self) -> bool:
        """Return whether the job has to wait now. Raises `Cancelled`."""
        if self._action == "cancel":
            self.raised_at = self.raised_at or self._clock()
            raise Cancelled(f"The run of {self._dataset_id} was cancelled.")
        return self.is_paused and self._clock() - self._confirmed_at < MAX_UNCONFIRMED_PAUSE_SECONDS

    def wait_while_paused(self) -> None:
        """Block while the run is paused. Raises `Cancelled`."""
        while self.is_requested and self.must_wait() and not _is_program_to_end():
            time.sleep(POLL_SECONDS)

    def hold(self) -> None:
        """Block while the run is paused, unless that would block an event loop.

        Raises `Cancelled`, but not in a callback, where that would be lost: nothing stops the job then.
        """
        while self.is_requested:
            if self.is_cancelled and is_in_callback():
                self.is_unstoppable = True
                return
            if not self.must_wait() or is_in_event_loop() or _is_program_to_end():
                return
            time.sleep(POLL_SECONDS)

    async def hold_async(self) -> None:
        """Wait while the run is paused. Raises `Cancelled`."""
        while self.is_requested and self.must_wait():  # noqa: ASYNC110 -- a thread sets it, not the event loop
            await asyncio.sleep(POLL_SECONDS)

    async def after_hold(self, awaitable: Awaitable[T]) -> T:
        """Wait while the run is paused, then return what ``awaitable`` returns."""
        await self.hold_async()
        return await awaitable

    @property
    def is_cancelled(self) -> bool:
        """Whether the job has to stop."""
        return self.is_requested and self._action == "cancel"

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the job has to stop."""
        if self.is_cancelled:
            self.must_wait()

    def is_ignored(self, seconds: float) -> bool:
        """Return whether the job should have stopped ``seconds`` ago, or earlier, or nothing stops it."""
        return self.is_cancelled and (self.is_unstoppable or self._clock() - self._cancelled_at >= seconds)


def _is_program_to_end() -> bool:
    """Return whether the main thread may be waiting for this one in order to end.

    It is interrupted (Ctrl-C), and waits for the threads of a pool; or it was that of a notebook that is shut down.
    """
    main = threading.main_thread()
    if "ipykernel" in sys.modules and not main.is_alive():
        return True
    found: Any = sys._current_exceptions().get(main.ident or 0)
    handled: BaseException | None = found[1] if isinstance(found, tuple) else found  # a tuple before Python 3.12
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None
