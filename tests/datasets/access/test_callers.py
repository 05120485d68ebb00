"""Which datasets a caller may see."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from apps.datasets.access.callers import Caller
from apps.datasets.models import Dataset

SEES = {
    # who: (public, private)
    "anonymous": (True, False),
    "stranger": (True, False),
    "owner": (True, True),
    "member": (True, True),
    "staff": (True, True),
}


@pytest.fixture
def people(db: None) -> dict[str, User | AnonymousUser]:
    named = {name: User.objects.create_user(name) for name in ("stranger", "owner", "member")}
    return {"anonymous": AnonymousUser(), "staff": User.objects.create_user("staff", is_staff=True), **named}


@pytest.fixture
def datasets(people: dict[str, User]) -> dict[str, Dataset]:
    made = {}
    for visibility in ("public", "private"):
        made[visibility] = Dataset.objects.create(dataset_id=visibility, visibility=visibility, owner=people["owner"])
        made[visibility].members.add(people["member"])
    # Somebody else's, so that being an owner or a member somewhere says nothing about elsewhere.
    other = User.objects.create_user("other")
    made["elsewhere"] = Dataset.objects.create(dataset_id="elsewhere", visibility="private", owner=other)
    made["elsewhere"].members.add(other)
    return made


@pytest.mark.parametrize("who", SEES)
@pytest.mark.parametrize("visibility", ["public", "private"])
def test_visible(people: dict[str, Any], datasets: dict[str, Dataset], who: str, visibility: str) -> None:
    expected = SEES[who][visibility == "private"]
    assert Caller(people[who]).visible().filter(dataset_id=visibility).exists() is expected


@pytest.mark.parametrize("who", SEES)
def test_a_private_dataset_of_others_is_seen_by_staff_alone(
    people: dict[str, Any], datasets: dict[str, Dataset], who: str
) -> None:
    assert Caller(people[who]).visible().filter(dataset_id="elsewhere").exists() is (who == "staff")


def test_a_private_dataset_without_an_owner_is_seen_by_staff_alone(people: dict[str, Any]) -> None:
    Dataset.objects.create(dataset_id="nobodys", visibility="private")
    seers = [who for who, user in people.items() if Caller(user).visible().exists()]
    assert seers == ["staff"]


def test_a_dataset_with_many_members_is_listed_once(people: dict[str, Any], datasets: dict[str, Dataset]) -> None:
    for number in range(5):
        datasets["public"].members.add(User.objects.create_user(f"member{number}"))
    dataset_ids = [dataset.dataset_id for dataset in Caller(people["member"]).visible()]
    assert dataset_ids == ["private", "public"]


@pytest.mark.parametrize("who", SEES)
def test_visible_takes_one_query(people: dict[str, Any], who: str, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        list(Caller(people[who]).visible())


def test_a_dataset_is_private_unless_said_otherwise() -> None:
    assert Dataset(dataset_id="x").visibility == "private"
