"""Who may make, change and join a batch, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.batches import services
from apps.batches.access import get_visible_batch, may_change, visible_batches
from apps.batches.errors import BatchFull, BatchQuotaReached, UnknownBatch, UnknownMembers
from apps.batches.models import Batch, BatchMember
from apps.datasets.access.errors import MayNotAdd, NotAllowed
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.datasets.services import issue_token

from .conftest import ANYONE, batch_of

Make = Callable[..., Dataset]


def token(user: User | None, **values: Any) -> Caller:
    made, _ = issue_token("test", user=user, **values)
    return Caller(user, made)


@pytest.fixture(autouse=True)
def users_may_add(settings: Any) -> None:
    settings.USERS_MAY_ADD_DATASETS = True


def members(batch: Batch) -> set[str]:
    return set(batch.datasets.values_list("dataset_id", flat=True))


def test_a_batch_belongs_to_whoever_makes_it(make: Make, olga: User) -> None:
    make("cats", owner=olga)
    make("dogs")
    batch = services.create_batch(Caller(olga), "nightly", name="Nightly", limit=2, dataset_ids=["cats", "dogs"])
    assert (batch.owner, batch.limit, members(batch)) == (olga, 2, {"cats", "dogs"})
    # The limit would hold up the runs of others, so it holds for what its maker may steer.
    assert list(BatchMember.objects.filter(is_limited=True).values_list("dataset__dataset_id", flat=True)) == ["cats"]
    services.add_datasets(Caller(olga), batch, ["cats"])
    assert batch.memberships.count() == 2


def test_all_of_the_datasets_or_none(make: Make, olga: User) -> None:
    make("cats")
    Dataset.objects.create(dataset_id="shut", visibility="private")
    with pytest.raises(UnknownMembers, match=r"There is no dataset shut, no/id\. Nothing"):
        services.create_batch(Caller(olga), "nightly", dataset_ids=["cats", "shut", "no/id"])
    assert not Batch.objects.exists()


@pytest.mark.parametrize("batch_id", ["", "a b", "-x", "x" * 129])
def test_ids_are_those_that_datasets_may_have(olga: User, batch_id: str) -> None:
    with pytest.raises(ValidationError):
        services.create_batch(Caller(olga), batch_id)


def test_whoever_may_add_datasets_may_make_batches(olga: User, settings: Any) -> None:
    with pytest.raises(MayNotAdd):
        services.create_batch(ANYONE, "nightly")
    with pytest.raises(NotAllowed):
        services.create_batch(token(olga, can_write=False), "nightly")
    services.create_batch(token(None), "of-the-site")
    settings.DATASETS_PER_USER = 1
    services.create_batch(Caller(olga), "one")
    with pytest.raises(BatchQuotaReached):
        services.create_batch(Caller(olga), "two")
    settings.USERS_MAY_ADD_DATASETS = False
    with pytest.raises(MayNotAdd):
        services.create_batch(Caller(olga), "three")


def test_a_batch_is_seen_with_its_datasets(make: Make, olga: User) -> None:
    shut = make("shut", owner=olga)
    Dataset.objects.update(visibility="private")
    sam, staff = User.objects.create_user("sam"), User.objects.create_user("stef", is_staff=True)
    of_shut, empty, of_sam = batch_of(shut), batch_of(batch_id="empty"), batch_of(batch_id="sams", owner=sam)
    for caller, seen in [
        (ANYONE, set()), (Caller(olga), {of_shut}), (Caller(sam), {of_sam}),
        (Caller(staff), {of_shut, empty, of_sam}), (token(None), {of_shut, empty, of_sam}),
        (token(None, datasets="team-*"), {empty, of_sam}), (token(olga, datasets="team-*"), set()),
    ]:  # fmt: skip
        assert set(visible_batches(caller)) == seen, caller
    shut.members.add(sam, through_defaults={"role": "view"})
    assert set(visible_batches(Caller(sam))) == {of_sam, of_shut}
    assert not may_change(Caller(sam), of_shut)
    for unknown in ("nightly", "no/id", "x" * 200):
        with pytest.raises(UnknownBatch):
            get_visible_batch(ANYONE, unknown)


def test_sign_in_required_hides_batches(make: Make, settings: Any) -> None:
    batch_of(make("open"))
    assert visible_batches(ANYONE).exists()
    settings.SIGN_IN_REQUIRED = True
    assert not visible_batches(Caller(AnonymousUser())).exists()


def test_who_takes_a_dataset_out(make: Make, olga: User) -> None:
    sam = User.objects.create_user("sam")
    batch = batch_of(make("of-olga", owner=olga), make("of-sam", owner=sam), owner=olga)
    with pytest.raises(NotAllowed):
        services.remove_datasets(Caller(sam), batch, ["of-sam", "of-olga"])
    with pytest.raises(NotAllowed):
        services.remove_datasets(Caller(sam), batch, [])
    services.remove_datasets(Caller(sam), batch, ["of-sam"])  # which he may steer
    assert members(batch) == {"of-olga"}
    services.remove_datasets(Caller(olga), batch, ["of-olga", "of-sam"])
    assert members(batch) == set()


def test_a_batch_is_never_too_large(make: Make, olga: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_MEMBERS", 2)
    for name in "abc":
        make(name)
    batch = services.create_batch(Caller(olga), "nightly", dataset_ids=["a", "b"])
    with pytest.raises(BatchFull):
        services.add_datasets(Caller(olga), batch, ["c"])
    assert members(batch) == {"a", "b"}


def test_name_and_limit_change_the_version(olga: User) -> None:
    batch = services.create_batch(Caller(olga), "nightly")
    changed = services.change_batch(batch, name="Every night", limit=3)
    assert (changed.name, changed.limit, changed.version > batch.version) == ("Every night", 3, True)
    assert services.change_batch(changed).version == changed.version
    with pytest.raises(ValidationError):
        services.change_batch(batch, name="x" * 201)


def test_joining_makes_the_batch_and_needs_a_right_for_that_of_another(make: Make, olga: User) -> None:
    make("cats", owner=olga)
    make("dogs", owner=olga)
    services.join_batch(token(olga), "nightly", ["cats"])
    services.join_batch(token(olga), "nightly", ["cats", "dogs"])
    assert members(Batch.objects.get()) == {"cats", "dogs"}
    sam = token(User.objects.create_user("sam"))
    services.join_batch(sam, "nightly", ["cats"])  # it is in it already
    make("birds", owner=sam.user)
    with pytest.raises(NotAllowed, match="another owns it"):
        services.join_batch(sam, "nightly", ["birds"])


def test_adding_a_hundred_takes_as_many_queries_as_one(make: Make, olga: User) -> None:
    for number in range(101):
        make(f"set-{number}", owner=olga)
    batch = batch_of(owner=olga)
    with CaptureQueriesContext(connection) as of_one:
        services.add_datasets(Caller(olga), batch, ["set-0"])
    with CaptureQueriesContext(connection) as of_many:
        services.add_datasets(Caller(olga), batch, [f"set-{number}" for number in range(1, 101)])
    assert len(of_one) == len(of_many)
