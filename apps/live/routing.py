"""The addresses of the sockets. Any other address refuses the handshake with 403."""

from __future__ import annotations

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from django.urls import re_path

from apps.datasets.dataset_ids import DATASET_ID_PATTERN

from .batch_consumers import BatchConsumer, BatchPageConsumer
from .consumers import ApiConsumer, ListConsumer, PageConsumer

sockets = URLRouter(
    [
        re_path(r"^api/progress/ws$", ApiConsumer.as_asgi()),
        # Any id, also one that no dataset can have: the client is told that it is unknown, like every other.
        re_path(r"^api/datasets/(?P<dataset_id>[^/]+)/progress/ws$", ApiConsumer.as_asgi()),
        re_path(r"^api/batches/(?P<batch_id>[^/]+)/progress/ws$", BatchConsumer.as_asgi()),
        re_path(rf"^batches/(?P<batch_id>{DATASET_ID_PATTERN})/progress/live/$", BatchPageConsumer.as_asgi()),
        re_path(r"^progress/live/$", ListConsumer.as_asgi()),
        re_path(rf"^datasets/(?P<dataset_id>{DATASET_ID_PATTERN})/progress/live/$", PageConsumer.as_asgi()),
        re_path(r"", WebsocketDenier.as_asgi()),
    ]
)
