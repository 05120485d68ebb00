"""The peer: progress over Channels as its tutorial teaches it. Reports come in over a WebSocket of their own.

Each client has a consumer, all consumers are in one group, and each report is a `group_send`.
"""

from __future__ import annotations

import json
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

settings.configure(SECRET_KEY="bench", CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}})
django.setup()


class Watching(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    async def connect(self) -> None:
        await self.channel_layer.group_add("dataset", self.channel_name)
        await self.accept()
        await self.send(text_data="{}")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("dataset", self.channel_name)

    async def progress(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(event["payload"], separators=(",", ":")))


class Reporting(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        payload = json.loads(text_data or "{}")
        await self.channel_layer.group_send("dataset", {"type": "progress", "payload": payload})


application = ProtocolTypeRouter(
    {"websocket": URLRouter([path("watch", Watching.as_asgi()), path("report", Reporting.as_asgi())])}
)
