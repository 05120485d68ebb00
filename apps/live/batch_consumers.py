"""The sockets of batches: the JSON protocol, and the page of a batch with its rows."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from channels.db import database_sync_to_async
from django.db import DatabaseError, InterfaceError

from apps.core.addresses import spend_reads
from apps.core.outages import is_outage
from apps.datasets.dataset_ids import is_dataset_id

from . import protocol, rendering
from .batches import find_batch
from .consumers import BUSY, FIND_SECONDS, Busy, ListConsumer, SocketConsumer
from .protocol import CLOSE_NOT_FOUND, CLOSE_TOO_MANY, CLOSE_UNAVAILABLE
from .rendering import Form

_find_batch = database_sync_to_async(
    find_batch, thread_sensitive=False, executor=ThreadPoolExecutor(1, thread_name_prefix="socket of a batch")
)


class _BatchSocket(SocketConsumer):
    """The socket of one batch, which its address names."""

    @property
    def batch_id(self) -> str:
        batch_id: str = self.scope["url_route"]["kwargs"]["batch_id"]
        return batch_id

    async def watch_batch(self) -> None:
        """Watch the batch; where there is none that this client may see, say so and close. Raises `Busy`."""
        if spend_reads(self.address, requests=1):
            self.send_error("Too much was asked for from this address.")
            self.watcher.close(CLOSE_TOO_MANY)
            return
        batch_pk = await self._find() if is_dataset_id(self.batch_id) else None
        if batch_pk is None:
            self.close_unknown()
        else:
            self.hub.watch_batch(batch_pk, self.watcher, self.on_gone)

    async def _find(self) -> int | None:
        try:
            async with asyncio.timeout(FIND_SECONDS):
                found: int | None = await _find_batch(self.watcher.identity, self.batch_id)
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            if isinstance(error, TimeoutError) or is_outage(error):
                raise Busy from error
            raise
        return found

    def on_gone(self) -> None:
        self.close_unknown(" any more")

    def close_unknown(self, since: str = "") -> None:
        self.send_error(f"There is no batch {self.batch_id}{since}.")
        self.watcher.close(CLOSE_NOT_FOUND)


class BatchConsumer(_BatchSocket):
    """Speaks the JSON protocol for one batch."""

    form = Form.JSON

    async def on_message(self, text: str | None) -> None:
        try:
            command = protocol.parse(text, only=self.batch_id, key="batch_id")
        except protocol.ProtocolError as error:
            self.send_error(str(error))
            return
        if isinstance(command, protocol.Unsubscribe):
            self.hub.batches.unwatch(self.watcher)
        else:
            await self.watch_batch()

    def on_busy(self) -> None:
        self.send_error(BUSY)
        self.watcher.close(CLOSE_UNAVAILABLE)

    def send_error(self, message: str) -> None:
        self.watcher.send_reply(rendering.text_message(protocol.error_text(message)))


class BatchPageConsumer(_BatchSocket, ListConsumer):
    """Pushes the panel of a batch and the rows of its datasets that its page shows: ``?id=a&id=b``."""

    async def on_open(self) -> None:
        await self.watch_batch()
        await self.watch_rows()
