"""The socket of the list."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from websockets.sync.client import connect

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.live.limits import MAX_SUBSCRIPTIONS
from apps.live.rendering import GONE_ROW, KEEPALIVE, NEW_DATASET
from apps.progress import services
from tests.processes import Server

from .conftest import login, next_message


def test_dataset_created_between_the_page_and_its_socket_is_announced(server: Server, transactional_db: None) -> None:
    Dataset.objects.create(dataset_id="cats", visibility="public")
    page = Client().get("/").content.decode()
    newest = re.search(r'data-newest="([^"]+)"', page)
    assert newest is not None
    address = f"{server.socket_url}/progress/live/?id=cats&newest={newest[1]}"
    with connect(address) as socket:
        assert socket.recv(timeout=30) == f"{KEEPALIVE}<!-- sockets 1 -->"  # at once, also where there is no row
        assert 'id="row-' in next_message(socket)  # no new dataset was announced before
        Dataset.objects.create(dataset_id="dogs", visibility="public")
        assert next_message(socket) == f"{NEW_DATASET}<!-- watchers 1 -->"
    with connect(address) as late:
        assert {next_message(late)[: len(NEW_DATASET)] for _ in range(2)} >= {NEW_DATASET}


def test_private_dataset_is_announced_to_those_who_may_see_it_alone(server: Server, transactional_db: None) -> None:
    owner = User.objects.create_user("owner")
    cats = Dataset.objects.create(dataset_id="cats", visibility="public")
    address = f"{server.socket_url}/progress/live/?id=cats&newest={cats.created_at.timestamp():.6f}"
    with connect(address) as anyone, connect(address, additional_headers=login(owner)) as own:
        for socket in (anyone, own):
            assert 'id="row-' in next_message(socket)
        Dataset.objects.create(dataset_id="secret", owner=owner)
        assert next_message(own).startswith(NEW_DATASET)
        services.begin_run(cats)
        assert 'id="row-cats"' in next_message(anyone)
    newest = f'data-newest="{cats.created_at.timestamp():.6f}"'
    assert newest in Client().get("/").text
    client = Client()
    client.force_login(owner)
    assert newest not in client.get("/").text


def test_socket_watches_no_more_datasets_than_the_first_thousand(server: Server, transactional_db: None) -> None:
    first, beyond = (Dataset.objects.create(dataset_id=name, visibility="public") for name in ("first", "beyond"))
    newest = f"{Dataset.objects.latest('pk').created_at.timestamp():.6f}"
    ids = "&id=".join(["first", *(f"no{number}" for number in range(MAX_SUBSCRIPTIONS - 1)), "beyond"])
    with connect(f"{server.socket_url}/progress/live/?id={ids}&newest={newest}") as socket:
        assert next_message(socket) == GONE_ROW
        assert 'id="row-first"' in next_message(socket)
        services.begin_run(beyond)
        # What is sent of the first comes after what would have been sent of the other.
        run = services.begin_run(first)
        assert 'id="row-first"' in next_message(socket)
        services.request_cancel(run.pk)
        assert 'id="row-first"' in next_message(socket)


@pytest.mark.parametrize("way", ["deleted", "private"])
def test_row_that_is_gone_is_announced(server: Server, transactional_db: None, way: str) -> None:
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    Dataset.objects.create(dataset_id="dogs", visibility="public")
    newest = f"{Dataset.objects.latest('pk').created_at.timestamp():.6f}"
    with connect(f"{server.socket_url}/progress/live/?id=cats&id=dogs&newest={newest}") as socket:
        for _ in range(2):
            assert 'id="row-' in next_message(socket)
        if way == "deleted":
            delete_dataset(dataset)
        else:
            Dataset.objects.filter(pk=dataset.pk).update(visibility="private")
        assert next_message(socket) == GONE_ROW


def test_row_that_was_gone_before_the_socket_opened_is_announced(server: Server, transactional_db: None) -> None:
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public")
    newest = f"{dataset.created_at.timestamp():.6f}"
    with connect(f"{server.socket_url}/progress/live/?id=cats&id=dogs&newest={newest}") as socket:
        assert next_message(socket) == GONE_ROW
        assert 'id="row-cats"' in next_message(socket)
