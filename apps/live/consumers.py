"""The sockets: they authorise, register with the hub, and relay. No business logic."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.http import parse_cookie

from apps.datasets.access.identities import identity_of, visible_pks

from . import limits, rendering
from .hub import Hub, current_hub
from .rendering import Form
from .watcher import GONE_ROWS, Watcher

# Unknown datasets that an answer names.
NAMED = 10

# Not on the one thread that Django keeps for code that must not run beside itself: a slow page would hold up sockets.
# Each thread has a connection to the database for as long as the process lives.
_find_visible = database_sync_to_async(
    visible_pks, thread_sensitive=False, executor=ThreadPoolExecutor(2, thread_name_prefix="socket")
)


class _Watching(AsyncWebsocketConsumer):  # type: ignore[misc]
    """What all sockets share: being a watcher of the hub, for as long as it is open and may see.

    Whatever a client is told once it is connected goes through its watcher, so that nothing here waits for it.
    """

    form: Form
    hub: Hub
    watcher: Watcher
    address: str
    watched: dict[int, str]  # dataset ids by the row ids that the hub knows
    has_entered = warned = False

    async def __call__(self, *scope_receive_send: Any) -> None:
        try:
            await super().__call__(*scope_receive_send)
        finally:  # also where it has failed, or is cancelled
            if self.has_entered:
                self.left()

    async def connect(self) -> None:
        self.watched = {}
        self.hub = current_hub()
        self.watcher = Watcher(self.form, self.base_send, self.gone, _identity(self.scope))
        self.address = limits.address_of(self.scope)
        self.pace = limits.Pace()
        may_enter = limits.enter(self.address)
        self.has_entered = True
        await self.accept()
        if may_enter:
            await self.entered()
        else:
            self.refuse("Too many connections from this address.")
            self.watcher.close(limits.TOO_MANY)

    async def entered(self) -> None:
        """The socket is open, and may watch."""

    def left(self) -> None:
        """The socket is closed."""
        limits.leave(self.address)
        for dataset_pk in self.watched:
            self.hub.unwatch(dataset_pk, self.watcher)
        self.watched = {}

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self.pace.allows():
            self.offend(f"A client may send {limits.MESSAGES_A_SECOND} messages a second.", limits.TOO_MANY)
        elif len(bytes_data or (text_data or "").encode()) > limits.MESSAGE_BYTES:
            self.offend(f"A message may have {limits.MESSAGE_BYTES} bytes.", limits.TOO_LARGE)
        else:
            await self.heard(text_data)

    async def heard(self, text: str | None) -> None:
        """A client has said something within the limits. Pages have nothing to say."""

    @property
    def dataset_id(self) -> str:
        return str(self.scope["url_route"]["kwargs"]["dataset_id"])

    async def watch(self, *dataset_ids: str) -> list[str]:
        """Watch datasets. Returns those that are not there, or not for whoever this is."""
        found = await _find_visible(self.watcher.identity, dataset_ids)
        for dataset_id, pk in found.items():
            self.watched[pk] = dataset_id
            self.hub.watch(pk, self.watcher)
        return [dataset_id for dataset_id in dict.fromkeys(dataset_ids) if dataset_id not in found]

    def unwatch(self, *dataset_ids: str) -> None:
        for dataset_pk in [pk for pk, dataset_id in self.watched.items() if dataset_id in dataset_ids]:
            del self.watched[dataset_pk]
            self.hub.unwatch(dataset_pk, self.watcher)

    def refuse(self, message: str) -> None:
        """Tell the client what it cannot have. A page is told by the close code alone."""

    def offend(self, message: str, code: int) -> None:
        """Answer a client that does not keep to a limit; the second time, close."""
        self.refuse(message)
        if self.warned:
            self.watcher.close(code)
        self.warned = True

    def gone(self, dataset_pk: int) -> None:
        """The hub shows the dataset no more: it was deleted, or may not be seen any more."""
        self.watched.pop(dataset_pk, None)
        self.watcher.close(limits.NOT_FOUND)


class PageConsumer(_Watching):
    """Pushes the live panel of a dataset's page."""

    form = Form.PANEL

    async def entered(self) -> None:
        if await self.watch(self.dataset_id):
            self.watcher.close(limits.NOT_FOUND)


class ListConsumer(_Watching):
    """Pushes what moves in the rows of a list. Its address names the datasets, and the newest that the page knows of,
    shown or not: ``?id=a&id=b&newest=…``.
    """

    form = Form.ROW

    async def entered(self) -> None:
        asked = parse_qs(self.scope["query_string"].decode("latin-1"))
        # First, for it fails where the database does.
        if await self.watch(*asked.get("id", [])[: limits.SUBSCRIPTIONS]):
            self.tell_of_gone_rows()
        self.hub.watch_list(self.watcher, asked.get("newest", [""])[0])

    def left(self) -> None:
        super().left()
        self.hub.unwatch_list(self.watcher)

    def gone(self, dataset_pk: int) -> None:
        """One row less is no reason to close. There may be another dataset of that id already: the page has to ask."""
        self.watched.pop(dataset_pk, None)
        self.tell_of_gone_rows()

    def tell_of_gone_rows(self) -> None:
        self.watcher.show(GONE_ROWS, rendering.message(rendering.GONE_ROW))


class ManyConsumer(_Watching):
    """The JSON protocol for any datasets: subscribe, unsubscribe, and a `progress_update` for every change between."""

    form = Form.JSON

    async def heard(self, text: str | None) -> None:
        try:
            kind, dataset_ids = self.understand(text)
        except ValueError as error:
            self.refuse(str(error))
            return
        if kind == "unsubscribe":
            self.unwatch(*dataset_ids)
        else:
            await self.subscribe(dataset_ids)

    async def subscribe(self, dataset_ids: list[str]) -> None:
        free = limits.SUBSCRIPTIONS - len(self.watched)
        if len(set(dataset_ids) - set(self.watched.values())) > free:
            self.refuse(f"A connection may watch {limits.SUBSCRIPTIONS} datasets.")
        elif unknown := await self.watch(*dataset_ids):
            self.unknown(unknown)

    def understand(self, text: str | None) -> tuple[str, list[str]]:
        """The type and the datasets of a message. Raises `ValueError` with what to tell the client."""
        if text is None:
            raise ValueError("Send JSON as text frames.")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("This is not JSON.") from None
        if not isinstance(message, dict) or message.get("type") not in ("subscribe", "unsubscribe"):
            raise ValueError('The "type" of a message is "subscribe" or "unsubscribe".')
        return message["type"], self.named(message)

    def named(self, message: dict[str, Any]) -> list[str]:
        """The datasets that a message names. Raises `ValueError` with what to tell the client."""
        named = message["dataset_ids"] if "dataset_ids" in message else [message.get("dataset_id")]
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise ValueError('Name datasets as "dataset_id": "…" or as "dataset_ids": ["…", "…"].')
        return named

    def refuse(self, message: str) -> None:
        self.watcher.say(rendering.message(json.dumps({"type": "error", "message": message})))

    def unknown(self, dataset_ids: list[str], gone: str = "") -> None:
        more = f" and {len(dataset_ids) - NAMED} more" if len(dataset_ids) > NAMED else ""
        self.refuse(f"There is no dataset {', '.join(dataset_ids[:NAMED])}{more}{gone}.")

    def gone(self, dataset_pk: int) -> None:
        self.unknown([self.watched.pop(dataset_pk, "of that id")], " any more")


class OneConsumer(ManyConsumer):
    """The JSON protocol for the one dataset of this socket's address; it closes where there is none."""

    def named(self, message: dict[str, Any]) -> list[str]:
        if message.get("dataset_id") != self.dataset_id:
            raise ValueError(f'The "dataset_id" of this socket is "{self.dataset_id}".')
        return [self.dataset_id]

    def unknown(self, dataset_ids: list[str], gone: str = "") -> None:
        super().unknown(dataset_ids, gone)
        self.watcher.close(limits.NOT_FOUND)


def _identity(scope: dict[str, Any]) -> str:
    """Who the client says it is, by a token or by the cookie of a session. Whether that holds is asked later."""
    headers = dict(scope["headers"])
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
    return identity_of(authorization, str(parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")))
