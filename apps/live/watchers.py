"""One reader at its own pace: what a watcher has not taken yet is replaced by what is newer, never queued behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .frames import Form

logger = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Watcher:
    """Someone who is shown datasets. Every method belongs to one event loop.

    ``send`` is the ASGI server's. Where it makes its caller wait for a slow reader, newer frames of a dataset replace
    the one that waits; where it does not, it is done at once, and no task is scheduled for it.
    ``identity`` says who watches, as `viewers.identity_of` has it.
    """

    __slots__ = ("_gone", "_send", "_sending", "_waiting", "form", "identity")

    def __init__(self, form: Form, send: Send, gone: Callable[[int], Awaitable[None]], identity: str = "") -> None:
        self.form: Final = form
        self.identity: Final = identity
        self._send = send
        self._gone = gone
        self._waiting: dict[int, dict[str, Any]] = {}
        self._sending: asyncio.Task[None] | None = None

    def show(self, dataset_pk: int, message: dict[str, Any]) -> None:
        """Send a message of the ASGI server's, which may be shared by any number of watchers."""
        self._waiting[dataset_pk] = message
        if self._sending is None:
            task = asyncio.Task(self._drain(), loop=asyncio.get_running_loop(), eager_start=True)
            if not task.done():
                self._sending = task

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._send(self._waiting.pop(next(iter(self._waiting))))
        except Exception:
            # Its own consumer sees it disconnect; nobody else is to be bothered.
            logger.debug("a watcher could not be written to", exc_info=True)
            self._waiting.clear()
        finally:
            self._sending = None

    async def gone(self, dataset_pk: int) -> None:
        """A dataset that was watched is there no more, or no more for this watcher."""
        self._waiting.pop(dataset_pk, None)
        try:
            await self._gone(dataset_pk)
        except Exception:
            logger.debug("a watcher could not be told", exc_info=True)
