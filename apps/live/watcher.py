"""One reader of messages, who may be slow: a newer message replaces an older one that still waits to be sent.

Nobody who sends waits for a reader.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from .rendering import Form, Message

logger = logging.getLogger(__name__)

Send = Callable[[Message], Awaitable[None]]

# A slot holds one waiting message. A dataset's slot is its row id; these are the slots of other messages.
SLOT_NEW_DATASET: Final = -1
SLOT_KEEPALIVE: Final = -2
SLOT_GONE_ROW: Final = -3
_SLOT_CLOSE: Final = -4
SLOT_BATCH: Final = -5  # a socket shows one batch
_SLOT_REPLIES: Final = -10  # the first of them; the others lie below
# Replies that wait for the reader. Of more than these, the newest are kept.
_MAX_REPLIES: Final = 16


class Watcher:
    """The reader behind one socket. Every method belongs to one event loop and returns at once.

    ``send`` is the ASGI server's. While it makes its caller wait for a slow reader, messages are buffered by slot.
    Where it does not, the message is sent before `send_latest` returns, and no task is scheduled. ``on_drop`` is
    called with the row id of a dataset that was dropped. ``identity`` says who watches; it comes from
    `access.identities.identity_of`.
    """

    __slots__ = ("_buffer", "_is_closing", "_on_drop", "_replies", "_send", "_sending", "form", "identity")

    def __init__(self, form: Form, send: Send, on_drop: Callable[[int], None], identity: str = "") -> None:
        self.form: Final = form
        self.identity: Final = identity
        self._send = send
        self._on_drop = on_drop
        self._buffer: dict[int, Message] = {}
        self._sending: asyncio.Task[None] | None = None
        self._replies = 0
        self._is_closing = False

    def send_latest(self, slot: int, message: Message) -> None:
        """Send a message in place of the one that waits in its slot. Watchers may share the message."""
        if self._is_closing:
            return
        if self._sending is not None:
            self._buffer[slot] = message
            return
        task = asyncio.Task(self._send_all(message), loop=asyncio.get_running_loop(), eager_start=True)
        if not task.done():
            self._sending = task

    def send_reply(self, message: Message) -> None:
        """Send the answer to a message of the client. It takes no dataset's slot."""
        slot = _SLOT_REPLIES - self._replies % _MAX_REPLIES
        self._buffer.pop(slot, None)  # so that this reply goes behind the earlier ones
        self.send_latest(slot, message)
        self._replies += 1

    def close(self, code: int) -> None:
        """Close the socket once the waiting messages are sent. A second call does nothing."""
        self.send_latest(_SLOT_CLOSE, {"type": "websocket.close", "code": code})
        self._is_closing = True

    def drop_dataset(self, dataset_pk: int) -> None:
        """Discard what waits of a dataset that was deleted or may not be seen any more, and call ``on_drop``."""
        self._buffer.pop(dataset_pk, None)
        self._on_drop(dataset_pk)

    async def _send_all(self, message: Message) -> None:
        """Send ``message``, then whatever was buffered meanwhile."""
        try:
            await self._send(message)
            while self._buffer:
                await self._send(self._buffer.pop(next(iter(self._buffer))))
        except Exception:
            # The consumer of this socket sees the disconnect. Other watchers must not.
            logger.debug("a watcher could not be written to", exc_info=True)
            self._buffer.clear()
        finally:
            self._sending = None
