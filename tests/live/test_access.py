"""Open sockets lose a dataset when their user loses access to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from apps.datasets.models import Dataset
from apps.progress import services
from tests.processes import Server

from .conftest import login, open_many, open_socket


def make_public(dataset: Dataset, public: bool) -> None:
    dataset.visibility = Dataset.Visibility.PUBLIC if public else Dataset.Visibility.PRIVATE
    dataset.save()


def new_password(user: User) -> None:
    user.set_password("another")
    user.save()


REVOKED_BY: dict[str, Callable[[User, Dataset], object]] = {
    "membership": lambda user, dataset: dataset.members.remove(user),
    "account closed": lambda user, dataset: User.objects.filter(pk=user.pk).update(is_active=False),
    "account deleted": lambda user, dataset: user.delete(),
    "password changed": lambda user, dataset: new_password(user),
    "signed out": lambda user, dataset: Session.objects.all().delete(),
}


@pytest.mark.parametrize("how", REVOKED_BY)
def test_access_that_is_taken_away_closes_the_socket(server: Server, transactional_db: None, how: str) -> None:
    member = User.objects.create_user("member", password="one")
    dataset = Dataset.objects.create(dataset_id="mice")
    dataset.members.add(member)
    with open_socket(server, "mice", additional_headers=login(member)) as socket:
        socket.subscribe()
        assert socket.update()["dataset_id"] == "mice"
        REVOKED_BY[how](member, dataset)
        assert socket.receive()["message"] == "There is no dataset mice any more."
        assert socket.close_code() == 4404


def test_dataset_that_becomes_private_is_lost_to_those_who_may_not_see_it_alone(
    server: Server, dataset: Dataset
) -> None:
    owner = User.objects.create_user("owner")
    Dataset.objects.create(dataset_id="dogs", visibility=Dataset.Visibility.PUBLIC)
    dataset.owner = owner
    dataset.save()
    with open_many(server) as stranger, open_many(server, additional_headers=login(owner)) as own:
        for socket in (stranger, own):
            socket.send({"type": "subscribe", "dataset_ids": ["cats", "dogs"]})
            assert {socket.update()["dataset_id"] for _ in range(2)} == {"cats", "dogs"}
        make_public(dataset, False)
        assert "cats" in stranger.receive()["message"]
        services.begin_run(dataset)
        assert own.update()["dataset_id"] == "cats"
        services.begin_run(Dataset.objects.get(dataset_id="dogs"))
        assert stranger.update()["dataset_id"] == "dogs"
