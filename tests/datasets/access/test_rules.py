"""What a caller may see, report on, steer and create."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, Token

SEES = {
    # who: (public, private)
    "anonymous": (True, False),
    "stranger": (True, False),
    "owner": (True, True),
    "member": (True, True),
    "viewer": (True, True),
    "steerer": (True, True),
    "staff": (True, True),
}


@pytest.fixture
def people(db: None) -> dict[str, User | AnonymousUser]:
    named = {name: User.objects.create_user(name) for name in ("stranger", "owner", "member", "viewer", "steerer")}
    return {"anonymous": AnonymousUser(), "staff": User.objects.create_user("staff", is_staff=True), **named}


@pytest.fixture
def datasets(people: dict[str, User]) -> dict[str, Dataset]:
    made = {}
    for visibility in ("public", "private"):
        made[visibility] = Dataset.objects.create(dataset_id=visibility, visibility=visibility, owner=people["owner"])
        made[visibility].members.add(people["member"])
        for who, role in (("viewer", "view"), ("steerer", "steer")):
            made[visibility].members.add(people[who], through_defaults={"role": role})
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


# Who may report on a private dataset with a token, who may steer it, and who may delete it and say who sees it.
RIGHTS = {
    # whose token: (report, steer, manage)
    "stranger": (False, False, False),
    "owner": (True, True, True),
    "member": (True, False, False),
    "viewer": (False, False, False),
    "steerer": (True, True, False),
    "staff": (True, True, True),
    "": (True, True, True),  # the site's own
}


@pytest.mark.parametrize("who", RIGHTS)
def test_what_a_token_may_do(people: dict[str, Any], datasets: dict[str, Dataset], who: str) -> None:
    private = datasets["private"]
    caller = Caller(people[who] if who else None, Token(datasets="private,p-*"))
    reports = list(caller.writable([private])) == ["private"]
    assert (reports, caller.may_steer(private), caller.may_manage(private)) == RIGHTS[who]
    assert caller.writable([datasets["public"], datasets["elsewhere"]]) == {}
    assert [caller.may_report_on(dataset_id) for dataset_id in ("p-1", "q-1")] == [True, False]
    reader = Caller(caller.user, Token(datasets="*", can_write=False))
    assert (reader.writable(datasets.values()), reader.may_report_on("p-1")) == ({}, False)


@pytest.mark.parametrize("who", SEES)
def test_a_session_steers_and_reports_on_nothing(
    people: dict[str, Any], datasets: dict[str, Dataset], who: str
) -> None:
    caller = Caller(people[who])
    assert caller.may_steer(datasets["public"]) is (who in ("owner", "steerer", "staff"))
    assert caller.may_manage(datasets["public"]) is (who in ("owner", "staff"))
    assert (caller.writable(datasets.values()), caller.may_report_on("new")) == ({}, False)


def test_a_dataset_without_an_owner_is_not_an_anonymous_users() -> None:
    assert not Caller(AnonymousUser()).may_steer(Dataset(dataset_id="nobodys"))


def test_nobody_is_no_caller() -> None:
    with pytest.raises(ValueError, match="a user, a token, or both"):
        Caller(None)
