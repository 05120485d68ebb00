"""Visibility, owner and members: who may set them, and that they are set whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from pytest_django import Settings

from apps.datasets.access.errors import NotAllowed, QuotaReached
from apps.datasets.access.rules import Caller
from apps.datasets.access.sharing import Sharing, SharingChange, share, sharing_of
from apps.datasets.models import Dataset, Token

pytestmark = pytest.mark.django_db

NEW = SharingChange("private", "bob", ["ada", "bob", "ada"])


@pytest.fixture
def people() -> dict[str, User]:
    names = ("ada", "bob", "member", "steerer", "stranger", "staff")
    return {name: User.objects.create_user(name, is_staff=name == "staff") for name in names}


@pytest.fixture
def dataset(people: dict[str, User]) -> Dataset:
    dataset = Dataset.objects.create(dataset_id="cats", visibility="public", owner=people["ada"])
    dataset.members.add(people["member"])
    dataset.members.add(people["steerer"], through_defaults={"role": "steer"})
    return dataset


@pytest.mark.parametrize("who", ["ada", "staff", ""])
@pytest.mark.parametrize("with_token", [False, True])
def test_who_may_steer_may_share(people: dict[str, Any], dataset: Dataset, who: str, with_token: bool) -> None:
    user = people.get(who)
    caller = Caller(user, Token(datasets="*") if with_token or user is None else None)
    after = Sharing("private", "bob", ("ada", "bob"), {"ada": "report", "bob": "report"})
    assert share(caller, dataset, NEW) == sharing_of(Dataset.objects.get()) == after


@pytest.mark.parametrize("who", ["member", "steerer", "stranger"])
def test_others_may_ask_for_nothing_but_what_is_so(people: dict[str, Any], dataset: Dataset, who: str) -> None:
    before = sharing_of(dataset)
    assert share(Caller(people[who]), dataset, SharingChange("public", members=["member", "steerer"])) == before
    for change in (NEW, SharingChange("private"), SharingChange(members=[])):
        with pytest.raises(NotAllowed, match="Only its owner"):
            share(Caller(people[who]), dataset, change)
    assert sharing_of(Dataset.objects.get()) == before


def test_what_is_left_out_stays(people: dict[str, Any], dataset: Dataset) -> None:
    caller = Caller(people["ada"])
    assert share(caller, dataset, SharingChange("private")) == Sharing(
        "private", "ada", ("member", "steerer"), {"member": "report", "steerer": "steer"}
    )
    assert share(caller, dataset, SharingChange(members=[])) == Sharing("private", "ada", ())
    assert share(caller, dataset, SharingChange(owner="bob")) == Sharing("private", "bob", ())


def test_roles_are_kept_and_changed(people: dict[str, Any], dataset: Dataset) -> None:
    caller = Caller(people["ada"])
    after = share(caller, dataset, SharingChange(members=["steerer", "bob"], roles={"bob": "view"}))
    assert after == sharing_of(Dataset.objects.get())
    assert after.roles == {"bob": "view", "steerer": "steer"}
    assert share(caller, dataset, SharingChange(roles={"steerer": "report"})).roles["steerer"] == "report"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (SharingChange("private", members=["bob", "nobody"]), "members"),
        (SharingChange("private", owner="nobody"), "owner"),
        (SharingChange("private", owner=""), "owner"),
        (SharingChange("secret"), "visibility"),
        (SharingChange(roles={"bob": "view"}), "roles"),
        (SharingChange(roles={"member": "admin"}), "roles"),
    ],
)
def test_one_mistake_changes_nothing(
    people: dict[str, Any], dataset: Dataset, change: SharingChange, field: str
) -> None:
    before = sharing_of(dataset)
    with pytest.raises(ValidationError) as refused:
        share(Caller(people["ada"]), dataset, change)
    assert list(refused.value.message_dict) == [field]
    assert sharing_of(Dataset.objects.get()) == before


def test_a_closed_account_is_nobody(people: dict[str, Any], dataset: Dataset) -> None:
    User.objects.filter(username="bob").update(is_active=False)
    with pytest.raises(ValidationError, match="There is no user bob"):
        share(Caller(people["ada"]), dataset, SharingChange(members=["bob"]))


def test_a_dataset_is_not_given_to_whoever_has_no_room(
    people: dict[str, Any], dataset: Dataset, settings: Settings
) -> None:
    settings.DATASETS_PER_USER = 1
    Dataset.objects.create(dataset_id="dogs", owner=people["bob"])
    with pytest.raises(QuotaReached):
        share(Caller(people["ada"]), dataset, SharingChange(owner="bob"))
    assert share(Caller(people["staff"]), dataset, SharingChange(owner="bob")).owner == "bob"
