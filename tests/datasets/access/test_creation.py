"""Who may create which dataset: one rule, whichever way a user comes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.exceptions import ValidationError
from django.db import connection
from pytest_django import Settings

from apps.datasets.access.creation import create, refusals
from apps.datasets.access.errors import MayNotAdd, NameReserved, NotAllowed, QuotaReached
from apps.datasets.access.lookup import get_writable
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, ReservedPrefix, Token

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def staff() -> User:
    return User.objects.create_user("stef", is_staff=True)


def ways(user: User) -> list[Caller]:
    """The callers that a user may be: on a page, and with a token."""
    return [Caller(user), Caller(user, Token(datasets="*", user=user))]


def refusal(caller: Caller, dataset_id: str = "cats") -> type[NotAllowed] | None:
    return type(found) if (found := refusals(caller, [dataset_id]).get(dataset_id)) else None


def test_every_user_may_unless_the_site_says_otherwise(ada: User, settings: Settings) -> None:
    assert [refusal(way) for way in ways(ada)] == [None, None]
    settings.USERS_MAY_ADD_DATASETS = False
    assert [refusal(way) for way in ways(ada)] == [MayNotAdd, MayNotAdd]
    with pytest.raises(MayNotAdd):
        create(ways(ada)[1], "cats")
    ada.user_permissions.add(Permission.objects.get(codename="add_dataset"))
    assert [refusal(way) for way in ways(User.objects.get())] == [None, None]


def test_nobody_who_is_not_signed_in_may(settings: Settings) -> None:
    assert refusal(Caller(AnonymousUser())) is MayNotAdd


def test_a_token_may_no_more_than_it_covers(ada: User) -> None:
    assert refusal(Caller(ada, Token(datasets="dogs-*"))) is NotAllowed
    assert refusal(Caller(ada, Token(datasets="*", can_write=False))) is NotAllowed
    assert refusal(Caller(None, Token(datasets="dogs-*"))) is NotAllowed


def test_a_user_owns_so_many_and_no_more(ada: User, staff: User, settings: Settings) -> None:
    settings.DATASETS_PER_USER = 2
    for dataset_id in ("a", "b"):
        create(Caller(ada), dataset_id)
    assert [refusal(way) for way in (*ways(ada), *ways(staff))] == [QuotaReached, QuotaReached, None, None]
    with pytest.raises(QuotaReached, match="may own 2 datasets"):
        create(ways(ada)[1], "c")
    Dataset.objects.get(dataset_id="a").delete()
    assert create(Caller(ada), "c").owner == ada


def test_a_team_keeps_its_names(ada: User, staff: User) -> None:
    team_a, team_b = (Group.objects.create(name=name) for name in ("Team A", "Team B"))
    for prefix, team in (("team-", team_b), ("team-a-", team_a)):
        ReservedPrefix.objects.create(prefix=prefix, team=team)
    names = ("team-a-cats", "TEAM-A-cats", "team-b", "cats")
    bob = User.objects.create_user("bob")
    bob.groups.add(team_b)
    ada.groups.add(team_a)
    expected = {ada: [None, None, NameReserved, None], bob: [NameReserved, NameReserved, None, None]}
    for user, refused in expected.items():
        for way in ways(user):
            assert [refusal(way, name) for name in names] == refused
    site = Caller(None, Token(datasets="*"))
    assert [refusal(caller, names[0]) for caller in (*ways(staff), site)] == [None, None, None]
    ReservedPrefix.objects.create(prefix="team-a-", team=team_b)  # shared
    assert refusal(Caller(bob), names[0]) is None


def test_a_prefix_may_be_written_as_a_pattern() -> None:
    team = Group.objects.create(name="Team A")
    reserved = ReservedPrefix(prefix="team-a-*", team=team)
    reserved.full_clean()
    assert reserved.prefix == "team-a-"
    for wrong in ("*", "", "a/b"):
        with pytest.raises(ValidationError):
            ReservedPrefix(prefix=wrong, team=team).full_clean()


@pytest.mark.parametrize("rule", ["right", "name", "quota"])
def test_a_refusal_does_not_tell_whether_a_hidden_dataset_exists(
    ada: User, staff: User, settings: Settings, rule: str
) -> None:
    Dataset.objects.create(dataset_id="team-hidden", owner=staff)
    if rule == "right":
        settings.USERS_MAY_ADD_DATASETS = False
    elif rule == "name":
        ReservedPrefix.objects.create(prefix="team-", team=Group.objects.create(name="Team"))
    else:
        settings.DATASETS_PER_USER = 1
        Dataset.objects.create(dataset_id="mine", owner=ada)
    caller = Caller(ada, Token(datasets="*", user=ada))
    told = []
    for dataset_id in ("team-hidden", "team-nobodys"):
        with pytest.raises(NotAllowed) as refused:
            get_writable(caller, dataset_id)
        told.append((refused.type, str(refused.value)))
    assert told[0] == told[1]


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_not_exceed_the_quota(settings: Settings) -> None:
    settings.DATASETS_PER_USER = 1
    ada = User.objects.create_user("ada")
    barrier = threading.Barrier(4)

    def add(number: int) -> bool:
        try:
            connection.ensure_connection()
            barrier.wait(30)
            create(Caller(ada), f"cats-{number}")
        except QuotaReached:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(4))) == [False, False, False, True]
    assert Dataset.objects.count() == 1
