"""The addresses of the sockets."""

from __future__ import annotations

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from django.urls import re_path

from apps.datasets.models import DATASET_ID_PATTERN

from .consumers import ListConsumer, ManyConsumer, OneConsumer, PageConsumer

sockets = URLRouter(
    [
        re_path(r"^api/progress/ws$", ManyConsumer.as_asgi()),
        # Any id: one that no dataset can have is unknown, and said to be, like any other that there is not.
        re_path(r"^api/datasets/(?P<dataset_id>[^/]+)/progress/ws$", OneConsumer.as_asgi()),
        re_path(r"^progress/live/$", ListConsumer.as_asgi()),
        re_path(rf"^datasets/(?P<dataset_id>{DATASET_ID_PATTERN})/progress/live/$", PageConsumer.as_asgi()),
        re_path(r"", WebsocketDenier.as_asgi()),  # an address where there is no socket
    ]
)
