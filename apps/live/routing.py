"""The addresses of the sockets."""

from __future__ import annotations

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from django.urls import re_path

from apps.datasets.models import KEY_PATTERN

from .consumers import PageConsumer, ProgressConsumer

sockets = URLRouter(
    [
        re_path(rf"^api/datasets/(?P<dataset_id>{KEY_PATTERN})/progress/ws$", ProgressConsumer.as_asgi()),
        re_path(rf"^datasets/(?P<dataset_id>{KEY_PATTERN})/progress/live/$", PageConsumer.as_asgi()),
        re_path(r"", WebsocketDenier.as_asgi()),  # an address where there is no socket
    ]
)
