"""The addresses of the sockets."""

from __future__ import annotations

from typing import Any

from channels.routing import URLRouter
from django.urls import re_path

from apps.datasets.models import KEY_PATTERN

from .consumers import PageConsumer, ProgressConsumer


async def _nowhere(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse the handshake at an address where there is no socket."""
    await receive()
    await send({"type": "websocket.close"})


sockets = URLRouter(
    [
        re_path(rf"^api/datasets/(?P<dataset_id>{KEY_PATTERN})/progress/ws$", ProgressConsumer.as_asgi()),
        re_path(rf"^datasets/(?P<dataset_id>{KEY_PATTERN})/progress/live/$", PageConsumer.as_asgi()),
        re_path(r"", _nowhere),
    ]
)
