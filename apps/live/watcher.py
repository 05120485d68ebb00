"""One reader at its own pace: what a watcher has not taken yet is replaced by what is newer, never queued behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .rendering import Form

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]

# In place of a dataset's row id, for messages that are of none.
NEW_ROWS: Final = -1
KEEPALIVE: Final = -2
GONE_ROWS: Final = -3
_CLOSE: Final = -4
_WORDS: Final = -10  # and below
# Answers to what a client has sent that wait for it to take them; of more, it is told the newest.
_MOST_WORDS: Final = 16


class Watcher:
    """Someone who is shown datasets. Every method belongs to one event loop, and none waits for the reader.

    ``send`` is the ASGI server's. Where it makes its caller wait for a slow reader, newer frames of a dataset replace
    the one that waits; where it does not, it is done at once, and no task is scheduled for it. ``gone`` is called with
    the row id of a dataset that is shown no more. ``identity`` says who watches, as `viewers.identity_of` has it.
    """

    __slots__ = ("_gone", "_is_closing", "_said", "_send", "_sending", "_waiting", "form", "identity")

    def __init__(self, form: Form, send: Send, gone: Callable[[int], None], identity: str = "") -> None:
        self.form: Final = form
        self.identity: Final = identity
        self._send = send
        self._gone = gone
        self._waiting: dict[int, dict[str, Any]] = {}
        self._sending: asyncio.Task[None] | None = None
        self._said = 0
        self._is_closing = False

    def show(self, dataset_pk: int, message: dict[str, Any]) -> None:
        """Send a message of the ASGI server's, which may be shared by any number of watchers."""
        if self._is_closing:
            return
        if self._sending is not None:
            self._waiting[dataset_pk] = message
            return
        task = asyncio.Task(self._deliver(message), loop=asyncio.get_running_loop(), eager_start=True)
        if not task.done():
            self._sending = task

    def say(self, message: dict[str, Any]) -> None:
        """Answer the reader: beside what it is shown, and in no dataset's place."""
        place = _WORDS - self._said % _MOST_WORDS
        self._waiting.pop(place, None)  # so that it comes behind what was said before
        self.show(place, message)
        self._said += 1

    def close(self, code: int) -> None:
        """Close the socket, after what waits to be sent. Closing again does nothing."""
        self.show(_CLOSE, {"type": "websocket.close", "code": code})
        self._is_closing = True

    def gone(self, dataset_pk: int) -> None:
        """A dataset that was watched is there no more, or no more for this watcher."""
        self._waiting.pop(dataset_pk, None)
        self._gone(dataset_pk)

    async def _deliver(self, message: dict[str, Any]) -> None:
        """Send ``message``, and then whatever has come to wait meanwhile."""
        try:
            await self._send(message)
            while self._waiting:
                await self._send(self._waiting.pop(next(iter(self._waiting))))
        except Exception:
            # Its own consumer sees it disconnect; nobody else is to be bothered.
            logger.debug("a watcher could not be written to", exc_info=True)
            self._waiting.clear()
        finally:
            self._sending = None
