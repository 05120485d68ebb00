"""The sockets: they authorise, register with the hub, and relay. No business logic."""

from __future__ import annotations

import json
from typing import Final

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from apps.datasets.models import Dataset

from .frames import Form
from .hub import Hub, current_hub

# The close code of an unknown dataset, and of one that this user may not see.
NOT_FOUND: Final = 4404
MESSAGE_LIMIT: Final = 4096  # bytes


class _Watching(AsyncWebsocketConsumer):  # type: ignore[misc]
    """What the two sockets of one dataset share: who may watch, and being a watcher of the hub."""

    form: Form
    hub: Hub
    watched: int | None = None

    async def connect(self) -> None:
        self.hub = current_hub()
        await self.accept()

    async def disconnect(self, code: int) -> None:
        self.unwatch()

    @property
    def dataset_id(self) -> str:
        return str(self.scope["url_route"]["kwargs"]["dataset_id"])

    async def watch(self) -> bool:
        """Watch the dataset of this socket's address. False where this user may not see it or there is none."""
        pk = await _find_visible(self.scope["user"], self.dataset_id)
        if pk is None:
            return False
        self.watched = pk
        self.hub.watch(pk, self)
        return True

    def unwatch(self) -> None:
        if self.watched is not None:
            self.hub.unwatch(self.watched, self)
            self.watched = None

    async def show(self, frame: str) -> None:
        await self.send(text_data=frame)

    async def gone(self, dataset_pk: int) -> None:
        self.watched = None
        await self.close(NOT_FOUND)


class PageConsumer(_Watching):
    """Pushes the HTML of the live parts of a dataset page."""

    form = Form.HTML

    async def connect(self) -> None:
        await super().connect()
        if not await self.watch():
            await self.close(NOT_FOUND)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The page has nothing to say here."""


class ProgressConsumer(_Watching):
    """The JSON protocol: subscribe, unsubscribe, and a `progress_update` for every change in between."""

    form = Form.JSON

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            kind = self._understand(text_data)
        except ValueError as error:
            await self._refuse(str(error))
            return
        if kind == "unsubscribe":
            self.unwatch()
        elif not await self.watch():
            await self._refuse(f"There is no dataset {self.dataset_id}.")
            await self.close(NOT_FOUND)

    def _understand(self, text: str | None) -> str:
        """The type of a message that is all right. Raises `ValueError` with what to tell the client."""
        if text is None:
            raise ValueError("Send JSON as text frames.")
        if len(text.encode()) > MESSAGE_LIMIT:
            raise ValueError(f"A message may have {MESSAGE_LIMIT} bytes.")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("This is not JSON.") from None
        if not isinstance(message, dict) or message.get("type") not in ("subscribe", "unsubscribe"):
            raise ValueError('The "type" of a message is "subscribe" or "unsubscribe".')
        if message.get("dataset_id") != self.dataset_id:
            raise ValueError(f'The "dataset_id" of this socket is "{self.dataset_id}".')
        return str(message["type"])

    async def _refuse(self, message: str) -> None:
        await self.send(text_data=json.dumps({"type": "error", "message": message}))

    async def gone(self, dataset_pk: int) -> None:
        await self._refuse(f"There is no dataset {self.dataset_id} any more.")
        await super().gone(dataset_pk)


def _visible_pk(user: AbstractBaseUser | AnonymousUser, dataset_id: str) -> int | None:
    return Dataset.objects.visible_to(user).filter(key=dataset_id).values_list("pk", flat=True).first()


# Not on the one thread that Django keeps for code that must not run beside itself: a slow page would hold up sockets.
_find_visible = database_sync_to_async(_visible_pk, thread_sensitive=False)
