"""The sockets: each checks what it may show, subscribes to the hub, and relays. No business logic lives here.

Once a socket is open, everything goes through its `Watcher`, so no method here waits for the client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import parse_cookie

from apps.core.addresses import spend_reads
from apps.core.outages import is_outage
from apps.datasets.access.identities import identity_of, visible_pks

from . import limits, protocol, rendering
from .hub import Hub, current_hub
from .protocol import CLOSE_NOT_FOUND, CLOSE_TOO_LARGE, CLOSE_TOO_MANY, CLOSE_UNAVAILABLE
from .rendering import Form
from .watcher import SLOT_GONE_ROW, Watcher

# Django runs code that is thread-sensitive on one thread, where a slow page would hold up sockets. These two threads
# have a database connection each, for as long as the process lives.
_find_visible = database_sync_to_async(
    visible_pks, thread_sensitive=False, executor=ThreadPoolExecutor(2, thread_name_prefix="socket")
)
# How long a client waits for them before it is told that the server is busy.
FIND_SECONDS: Final = 4.5
BUSY: Final = "The server is busy, or its database does not answer. Try again in a moment."


class Busy(Exception):
    """The database does not answer, so nothing was subscribed to."""


class SocketConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """An open socket as a watcher of the hub: its limits, and its datasets from the first to the last.

    The classes below say what a socket watches (`on_open`), how it answers a message within the limits (`on_message`,
    `send_error`) and what it does when a dataset is taken away (`on_dataset_dropped`).
    """

    form: Form
    hub: Hub
    watcher: Watcher
    address: str
    watched: dict[int, str]  # dataset ids by row id
    sender: object  # stands for this connection where its messages are counted, and by the server its control frames
    is_counted = is_warned = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("has_left", bool)():
            return  # its client did not wait for the answer
        if not limits.begin_handshake(self):
            await _refuse_handshake(scope, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:  # also after an error or a cancellation
            limits.end_handshake(self)
            if self.is_counted:
                limits.remove_connection(self.address)
                self.hub.remove_watcher(self.watcher, self.watched)
                del self.watcher  # it refers to this socket, and would keep it until the next collection of garbage

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle an event of the server. `_find_visible` closes old connections to the database in its own threads.

        Channels would first do so in a thread that no socket uses, at each event.
        """
        await getattr(self, get_handler_name(message))(message)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End. Here too Channels would first close old connections."""
        raise StopConsumer

    async def connect(self) -> None:
        self.watched = {}
        self.hub = current_hub()
        self.watcher = Watcher(self.form, self.base_send, self.on_dataset_dropped, _identity(self.scope))
        self.address = limits.address_of(self.scope)
        self.sender = self.scope.get("sender", self)
        is_allowed = limits.add_connection(self.address)
        self.is_counted = True
        await self.accept()
        if is_allowed:
            try:
                await self.on_open()
            except Busy:
                self.send_error(BUSY)
                self.watcher.close(CLOSE_UNAVAILABLE)
        else:
            self.send_error("Too many connections from this address.")
            self.watcher.close(CLOSE_TOO_MANY)
        if self.watched and not (limits.is_crowded() and self.send_known()):
            self.hub.after_flush(partial(limits.end_handshake, self))
        else:
            limits.end_handshake(self)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not limits.may_send(self.sender):
            self.warn_or_close(f"A client may send {limits.MESSAGES_A_SECOND} messages a second.", CLOSE_TOO_MANY)
        elif len(bytes_data or (text_data or "").encode()) > limits.MAX_MESSAGE_BYTES:
            self.warn_or_close(f"A message may have {limits.MAX_MESSAGE_BYTES} bytes.", CLOSE_TOO_LARGE)
        else:
            try:
                await self.on_message(text_data)
            except Busy:
                self.on_busy()

    def warn_or_close(self, message: str, code: int) -> None:
        """Answer a message over a limit with an error; close the socket at the second one."""
        self.send_error(message)
        if self.is_warned:
            self.watcher.close(code)
        self.is_warned = True

    def may_look_up(self, dataset_ids: Collection[str]) -> bool:
        """Count the ids against the address. Where that has asked for too many, say so and close the socket."""
        if not spend_reads(self.address, rows=len(dataset_ids)):
            return True
        self.send_error("Too many datasets were asked for from this address.")
        self.watcher.close(CLOSE_TOO_MANY)
        return False

    async def watch(self, dataset_ids: Collection[str]) -> list[str]:
        """Watch datasets. Return the ids of those that do not exist or that this client may not see. Raises `Busy`."""
        identity = self.watcher.identity
        # In a crowd, whoever is known to see them needs no query of its own. Else a dataset is looked up as it is now.
        found = self.hub.known.visible_pks(identity, dataset_ids) if limits.is_crowded() else None
        if found is None:
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(FIND_SECONDS):
                    found = await _find_visible(identity, dataset_ids)
            except (DatabaseError, InterfaceError, TimeoutError) as error:
                if isinstance(error, TimeoutError) or is_outage(error):
                    raise Busy from error
                raise
            self.hub.known.note_visible(identity, found, asked_at)
        for dataset_id, dataset_pk in found.items():
            self.watched[dataset_pk] = dataset_id
            self.hub.watch(dataset_pk, self.watcher)
        return [dataset_id for dataset_id in dict.fromkeys(dataset_ids) if dataset_id not in found]

    def send_known(self) -> bool:
        """Send the state that other watchers show of each dataset. Returns False where one of them has no others."""
        return all(self.hub.send_known(dataset_pk, self.watcher) for dataset_pk in self.watched)

    def unwatch(self, dataset_ids: Collection[str]) -> None:
        for dataset_pk in [pk for pk, dataset_id in self.watched.items() if dataset_id in dataset_ids]:
            del self.watched[dataset_pk]
            self.hub.unwatch(dataset_pk, self.watcher)

    async def on_open(self) -> None:
        """Begin to watch, where the address says what."""

    async def on_message(self, text: str | None) -> None:
        """Answer a message within the limits; None for a binary one. Pages send none, so it is ignored."""

    def on_dataset_dropped(self, dataset_pk: int) -> None:
        """React to a dataset that was deleted or may no longer be seen."""
        raise NotImplementedError

    def on_busy(self) -> None:
        """React to a message that was not obeyed, because the database does not answer."""

    def send_error(self, message: str) -> None:
        """Tell the client what went wrong. A page has the close code alone."""


class PageConsumer(SocketConsumer):
    """Pushes the live panel of a dataset's page."""

    form = Form.PANEL

    async def on_open(self) -> None:
        dataset_ids = [self.scope["url_route"]["kwargs"]["dataset_id"]]
        if self.may_look_up(dataset_ids) and await self.watch(dataset_ids):
            self.watcher.close(CLOSE_NOT_FOUND)

    def on_dataset_dropped(self, dataset_pk: int) -> None:
        self.watched.pop(dataset_pk, None)
        self.watcher.close(CLOSE_NOT_FOUND)


class ListConsumer(SocketConsumer):
    """Pushes the moving parts of the rows of a list.

    The address names the rows, and the newest dataset that the page knows of: ``?id=a&id=b&newest=…``.
    """

    form = Form.ROW

    async def on_open(self) -> None:
        # The rows come first: where the database fails, the socket is not registered as a list.
        if await self.watch_rows():
            self.hub.watch_list(self.watcher, self.query.get("newest", [""])[0])

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.scope["query_string"].decode("latin-1"))

    async def watch_rows(self) -> bool:
        """Watch the rows that the address names. Returns False where the address has asked for too many."""
        dataset_ids = self.query.get("id", [])[: limits.MAX_SUBSCRIPTIONS]
        if not self.may_look_up(dataset_ids):
            return False
        if await self.watch(dataset_ids):
            self.send_row_gone()
        return True

    def on_dataset_dropped(self, dataset_pk: int) -> None:
        self.watched.pop(dataset_pk, None)
        self.send_row_gone()

    def send_row_gone(self) -> None:
        """Have the page fetch its rows. It is not told which is gone, since the id may belong to another dataset."""
        self.watcher.send_latest(SLOT_GONE_ROW, rendering.text_message(rendering.GONE_ROW))


class ApiConsumer(SocketConsumer):
    """Speaks the JSON protocol: for the one dataset that its address names, or for any where it names none."""

    form = Form.JSON

    @property
    def only(self) -> str | None:
        """The dataset id in the address."""
        dataset_id: str | None = self.scope["url_route"]["kwargs"].get("dataset_id")
        return dataset_id

    async def on_message(self, text: str | None) -> None:
        try:
            command = protocol.parse(text, only=self.only)
        except protocol.ProtocolError as error:
            self.send_error(str(error))
            return
        if isinstance(command, protocol.Unsubscribe):
            self.unwatch(command.dataset_ids)
        else:
            await self.subscribe(command.dataset_ids)

    async def subscribe(self, dataset_ids: Collection[str]) -> None:
        free = limits.MAX_SUBSCRIPTIONS - len(self.watched)
        if len(set(dataset_ids) - set(self.watched.values())) > free:
            self.send_error(f"A connection may watch {limits.MAX_SUBSCRIPTIONS} datasets.")
        elif self.may_look_up(dataset_ids) and (unknown := await self.watch(dataset_ids)):
            self.send_unknown(protocol.unknown_datasets(unknown))

    def on_dataset_dropped(self, dataset_pk: int) -> None:
        dataset_id = self.watched.pop(dataset_pk, "of that id")
        self.send_unknown(protocol.unknown_datasets([dataset_id], any_more=True))

    def send_unknown(self, message: str) -> None:
        """Send the error, and close the socket of one dataset, which has nothing else to show."""
        self.send_error(message)
        if self.only is not None:
            self.watcher.close(CLOSE_NOT_FOUND)

    def on_busy(self) -> None:
        """Tell the client to send it again. The socket of one dataset is closed, so that its client reconnects."""
        self.send_error(BUSY)
        if self.only is not None:
            self.watcher.close(CLOSE_UNAVAILABLE)

    def send_error(self, message: str) -> None:
        self.watcher.send_reply(rendering.text_message(protocol.error_text(message)))


async def _refuse_handshake(scope: Any, send: Any) -> None:
    """Answer 503 with a time to come back. A server that cannot send that answers 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    headers = [(b"retry-after", str(limits.HANDSHAKE_RETRY_SECONDS).encode()), (b"content-length", b"0")]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})


def _identity(scope: dict[str, Any]) -> str:
    """Return who the client says it is, by a token or a session cookie. `visible_pks` checks it."""
    headers = dict(scope["headers"])
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
    return identity_of(authorization, str(parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")))
