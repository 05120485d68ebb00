"""Many datasets on one connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.live.limits import MAX_SUBSCRIPTIONS
from apps.progress import services
from tests.processes import Server

from .conftest import Socket, open_many


@pytest.fixture
def many(server: Server, transactional_db: None) -> Iterator[Socket]:
    with open_many(server) as socket:
        yield socket


def make(*dataset_ids: str) -> list[Dataset]:
    return [
        Dataset.objects.create(dataset_id=dataset_id, visibility=Dataset.Visibility.PUBLIC)
        for dataset_id in dataset_ids
    ]


def updates(socket: Socket, count: int) -> dict[str, int]:
    """The versions that the next ``count`` messages bring, by dataset."""
    shown = [socket.update() for _ in range(count)]
    return {update["dataset_id"]: update["version"] for update in shown}


def test_each_dataset_is_shown_at_once_and_after_its_changes(many: Socket) -> None:
    cats, dogs = make("cats", "dogs")
    many.send({"type": "subscribe", "dataset_id": "cats"})
    many.send({"type": "subscribe", "dataset_id": "dogs"})
    assert updates(many, 2) == {"cats": 0, "dogs": 0}
    services.begin_run(dogs)
    assert updates(many, 1) == {"dogs": 1}
    services.begin_run(cats)
    assert updates(many, 1) == {"cats": 1}


def test_unsubscribing_from_one_leaves_the_others(many: Socket) -> None:
    cats, dogs = make("cats", "dogs")
    many.send({"type": "subscribe", "dataset_ids": ["cats", "dogs"]})
    updates(many, 2)
    many.send({"type": "unsubscribe", "dataset_id": "cats"})
    many.send({"type": "?"})
    assert many.receive()["type"] == "error"  # the server has read what was sent before
    services.begin_run(cats)
    services.begin_run(dogs)
    assert updates(many, 1) == {"dogs": 1}


def test_unknown_dataset_is_an_error_and_the_others_go_on(many: Socket) -> None:
    make("cats")
    many.send({"type": "subscribe", "dataset_ids": ["nobody", "cats", "\ud800", "a\0b"]})
    answers = {(answer := many.receive())["type"]: answer for _ in range(2)}
    assert answers["progress_update"]["payload"]["dataset_id"] == "cats"
    assert answers["error"]["message"] == "There is no dataset nobody, \ud800, a\0b."


def test_many_unknown_datasets_are_one_error(many: Socket) -> None:
    many.send({"type": "subscribe", "dataset_ids": ["a"] * 400 + [f"b{number}" for number in range(100)]})
    assert many.receive()["message"] == f"There is no dataset a, {', '.join(f'b{n}' for n in range(9))} and 91 more."
    many.send({"type": "subscribe"})
    assert "Name datasets" in many.receive()["message"]


def test_deleted_dataset_is_an_error_and_the_others_go_on(many: Socket) -> None:
    cats, dogs = make("cats", "dogs")
    many.send({"type": "subscribe", "dataset_ids": ["cats", "dogs"]})
    updates(many, 2)
    delete_dataset(cats)
    assert "cats" in many.receive()["message"]
    services.begin_run(dogs)
    assert updates(many, 1) == {"dogs": 1}


@pytest.mark.parametrize("named", ["cats", [1], [["cats"]], {"cats": 1}, None])
def test_datasets_are_named_by_a_list_of_words(many: Socket, named: object) -> None:
    many.send({"type": "subscribe", "dataset_ids": named})
    assert many.receive()["type"] == "error"


def test_a_thousand_datasets_can_be_watched_and_no_more(many: Socket) -> None:
    dataset_ids = [f"set-{number:04}" for number in range(MAX_SUBSCRIPTIONS + 1)]
    Dataset.objects.bulk_create(Dataset(dataset_id=dataset_id, visibility="public") for dataset_id in dataset_ids)
    for start in range(0, MAX_SUBSCRIPTIONS, 200):
        many.send({"type": "subscribe", "dataset_ids": dataset_ids[start : start + 200]})
    assert set(updates(many, MAX_SUBSCRIPTIONS)) == set(dataset_ids[:MAX_SUBSCRIPTIONS])
    many.send({"type": "subscribe", "dataset_id": dataset_ids[-1]})
    assert many.receive() == {"type": "error", "message": f"A connection may watch {MAX_SUBSCRIPTIONS} datasets."}
    services.begin_run(Dataset.objects.get(dataset_id=dataset_ids[7]))
    assert updates(many, 1) == {dataset_ids[7]: 1}
    # A second subscription to a dataset takes no further place, and an unsubscription makes room.
    many.send({"type": "subscribe", "dataset_id": dataset_ids[7]})
    assert updates(many, 1) == {dataset_ids[7]: 1}
    many.send({"type": "unsubscribe", "dataset_id": dataset_ids[0]})
    many.send({"type": "subscribe", "dataset_id": dataset_ids[-1]})
    assert updates(many, 1) == {dataset_ids[-1]: 0}
