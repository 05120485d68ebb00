"""The socket of the list."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from websockets.sync.client import ClientConnection, connect

from apps.datasets.models import Dataset
from apps.live.rendering import GONE_ROW, KEEPALIVE, NEW_DATASET
from tests.processes import Server


def test_a_dataset_made_between_the_page_and_its_socket_is_told(server: Server, transactional_db: None) -> None:
    Dataset.objects.create(dataset_id="cats", visibility="public")
    page = Client().get("/").content.decode()
    newest = re.search(r'data-newest="([^"]+)"', page)
    assert newest is not None
    address = f"{server.socket_url}/progress/live/?id=cats&newest={newest[1]}"
    with connect(address) as socket:
        assert socket.recv(timeout=30) == KEEPALIVE  # at once, also where there is no row
        assert 'id="row-' in heard(socket)  # no word of a new one before
        Dataset.objects.create(dataset_id="dogs", visibility="public")
        assert heard(socket) == f"{NEW_DATASET}<!-- watchers 1 -->"
    with connect(address) as late:
        assert {heard(late)[: len(NEW_DATASET)] for _ in range(2)} >= {NEW_DATASET}


@pytest.mark.parametrize("way", ["deleted", "private"])
def test_a_row_that_is_gone_is_told(server: Server, transactional_db: None, way: str) -> None:
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    Dataset.objects.create(dataset_id="dogs", visibility="public")
    newest = f"{Dataset.objects.latest('pk').created_at.timestamp():.6f}"
    with connect(f"{server.socket_url}/progress/live/?id=cats&id=dogs&newest={newest}") as socket:
        for _ in range(2):
            assert 'id="row-' in heard(socket)
        if way == "deleted":
            dataset.delete()
        else:
            Dataset.objects.filter(pk=dataset.pk).update(visibility="private")
        assert heard(socket) == GONE_ROW


def test_a_row_that_went_before_its_socket_came_is_told(server: Server, transactional_db: None) -> None:
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    newest = f"{dataset.created_at.timestamp():.6f}"
    with connect(f"{server.socket_url}/progress/live/?id=cats&id=dogs&newest={newest}") as socket:
        assert heard(socket) == GONE_ROW
        assert 'id="row-cats"' in heard(socket)


def heard(socket: ClientConnection) -> str:
    """The next message that says something."""
    while (text := str(socket.recv(timeout=30))) == KEEPALIVE:
        pass
    return text
