"""The socket of the list."""

from __future__ import annotations

import re

from django.test import Client
from websockets.sync.client import connect

from apps.datasets.models import Dataset
from apps.live.frames import NEW_DATASET
from tests.processes import Server


def test_a_dataset_made_between_the_page_and_its_socket_is_told(server: Server, transactional_db: None) -> None:
    Dataset.objects.create(key="cats", visibility="public")
    page = Client().get("/").content.decode()
    newest = re.search(r'data-newest="([^"]+)"', page)
    assert newest is not None
    address = f"{server.socket_url}/progress/live/?id=cats&newest={newest[1]}"
    with connect(address) as socket:
        assert 'id="row-' in str(socket.recv(timeout=30))  # no word of a new one before
        Dataset.objects.create(key="dogs", visibility="public")
        assert socket.recv(timeout=30) == NEW_DATASET
    with connect(address) as late:
        assert {str(late.recv(timeout=30))[:20] for _ in range(2)} >= {NEW_DATASET}
