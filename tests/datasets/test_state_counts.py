"""The counts of states that triggers keep: always what counting all datasets would say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Barrier, Thread

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import Settings

from apps.datasets import state_counts
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, StateCount
from apps.datasets.services import ListedAs, delete_dataset, issue_token, note_listed, remove_dataset, share_dataset
from apps.datasets.state_counts import add_up, counts_visible_to, create_triggers, drop_triggers
from tests.pages.test_plans import recorded

MOST = 1_000
STAFF = Caller(User(pk=1, is_staff=True))
ANYONE = Caller(AnonymousUser())


def counted(caller: Caller) -> dict[int, int]:
    return dict(Counter(caller.visible().values_list("state_order", flat=True)))


def kept(caller: Caller) -> dict[int, int]:
    counts = counts_visible_to(caller, MOST)
    assert counts is not None
    return {state: count for state, count in counts.items() if count}


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def stranger(db: None) -> User:
    return User.objects.create_user("stranger")


def _move(dataset: Dataset, state_order: int) -> None:
    note_listed([ListedAs(dataset.pk, timezone.now(), state_order)])


CHANGES: list[Callable[[Dataset], object]] = [
    lambda dataset: Dataset.objects.create(dataset_id=f"copy-{dataset.pk}"),
    lambda dataset: Dataset.objects.bulk_create(
        Dataset(dataset_id=f"bulk-{dataset.pk}-{number}", visibility="public") for number in range(3)
    ),
    lambda dataset: _move(dataset, 4),
    lambda dataset: _move(dataset, 0),
    lambda dataset: share_dataset(dataset, visibility="public", owner=None, members={}),
    lambda dataset: share_dataset(dataset, visibility="private", owner=None, members={}),
    delete_dataset,
    lambda dataset: remove_dataset(dataset.pk),
    lambda dataset: Dataset.objects.filter(pk__gte=dataset.pk).update(state_order=3, visibility="public"),
    lambda dataset: Dataset.with_deleted.filter(pk=dataset.pk).update(deleted_at=None),
    lambda dataset: Dataset.with_deleted.filter(pk__gt=dataset.pk).delete(),
    lambda dataset: add_up(),
]  # fmt: skip


@given(changes=st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 3)), max_size=12))
@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_are_those_of_the_rows_after_any_changes(
    db: None, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[Callable[[Dataset], object], int]]
) -> None:
    monkeypatch.setattr(state_counts, "MOST_ROWS", 3)
    with transaction.atomic():
        pks = [Dataset.objects.create(dataset_id=f"set-{number}").pk for number in range(4)]
        for change, number in changes:
            for dataset in Dataset.with_deleted.filter(pk=pks[number]):
                with suppress(ValidationError, IntegrityError), transaction.atomic():  # the id of a copy is taken
                    change(dataset)
            assert kept(STAFF) == counted(STAFF)
            assert kept(ANYONE) == counted(ANYONE)
        transaction.set_rollback(True)


def test_user_is_told_the_counts_of_what_the_user_sees(owner: User, stranger: User) -> None:
    Dataset.objects.create(dataset_id="public", visibility="public", owner=owner)
    own = Dataset.objects.create(dataset_id="own", owner=owner)
    shared = Dataset.objects.create(dataset_id="shared", owner=owner, state_order=4)
    shared.members.add(stranger)
    assert kept(Caller(owner)) == {2: 2, 4: 1}
    assert kept(Caller(stranger)) == {2: 1, 4: 1}
    assert kept(ANYONE) == {2: 1}
    assert kept(STAFF) == {2: 2, 4: 1}
    delete_dataset(own)
    assert kept(Caller(owner)) == {2: 1, 4: 1}


def test_no_count_where_too_many_would_have_to_be_counted(owner: User, stranger: User) -> None:
    Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}", owner=owner) for number in range(3))
    assert counts_visible_to(Caller(owner), 2) is None
    assert counts_visible_to(Caller(owner), 3) == {2: 3}
    assert counts_visible_to(Caller(stranger), 2) == {}


def test_token_has_no_kept_counts(db: None) -> None:
    token, _ = issue_token("nightly", datasets="team-*")
    assert counts_visible_to(Caller(None, token), MOST) is None


def test_nobody_is_told_counts_where_one_has_to_sign_in(db: None, settings: Settings) -> None:
    Dataset.objects.create(dataset_id="public", visibility="public")
    settings.SIGN_IN_REQUIRED = True
    assert counts_visible_to(ANYONE, MOST) == {}


def test_rows_are_added_up(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    Dataset.objects.bulk_create(Dataset(dataset_id=f"set-{number}") for number in range(30))
    Dataset.objects.filter(dataset_id="set-0").update(state_order=4)
    assert not add_up()
    assert StateCount.objects.count() == 32, "few rows are left alone"
    monkeypatch.setattr(state_counts, "MOST_ROWS", 10)
    add_up()
    assert sorted(StateCount.objects.values_list("visibility", "state_order", "count")) == [
        ("private", 2, 29), ("private", 4, 1),
    ]  # fmt: skip
    Dataset.objects.all().delete()
    assert add_up()
    assert not StateCount.objects.exists(), "a sum of nothing has no row"


@pytest.fixture
def no_triggers(db: None) -> None:
    """As SQLite leaves it where a migration changes the table."""
    drop_triggers(None, connection.schema_editor())


@pytest.mark.parametrize("create", [create_triggers, partial(call_command, "restored", verbosity=0)])
def test_what_is_missing_is_created_and_counted_anew(no_triggers: None, create: Callable[[], object]) -> None:
    Dataset.objects.create(dataset_id="missed")
    assert kept(STAFF) == {}
    create()
    assert kept(STAFF) == {2: 1}
    Dataset.objects.create(dataset_id="counted")
    assert kept(STAFF) == {2: 2}


def test_site_does_not_go_without_triggers(no_triggers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lists would be empty. An outage fails the migration, which can be done again."""
    monkeypatch.setattr(state_counts, "_RECOUNT", ["no SQL"])
    with pytest.raises(DatabaseError):
        create_triggers()


def test_triggers_go_on_where_the_count_fails(
    db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state_counts, "_RECOUNT", ["no SQL"])
    create_triggers()
    assert "could not be counted anew" in caplog.text
    Dataset.objects.create(dataset_id="counted")
    assert kept(STAFF) == {2: 1}


def test_triggers_that_are_there_are_not_created_again(db: None) -> None:
    with recorded() as statements:
        create_triggers()
    assert not [sql for sql, _ in statements if "CREATE" in sql]


@pytest.mark.django_db(transaction=True)
def test_flushed_database_has_no_datasets() -> None:
    Dataset.objects.create(dataset_id="gone")
    call_command("flush", verbosity=0, interactive=False)
    assert kept(STAFF) == {}


@pytest.mark.django_db(transaction=True)
def test_writers_and_those_that_add_up_never_wait_in_a_circle(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight move datasets to and fro, each in its own order, while two add up, and one counts anew."""
    monkeypatch.setattr(state_counts, "MOST_ROWS", 0)
    pks = [Dataset.objects.create(dataset_id=f"set-{number}").pk for number in range(8)]
    barrier, errors = Barrier(11), list[Exception]()

    def work(begin: Callable[[int], None]) -> None:
        try:
            barrier.wait(20)
            for step in range(20):
                begin(step)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    def move(pk: int) -> Callable[[int], None]:
        def moved(step: int) -> None:
            with transaction.atomic():
                Dataset.objects.filter(pk=pk).update(state_order=(pk + step) % 5)
                Dataset.objects.filter(pk=pk).update(visibility="public" if step % 2 else "private")

        return moved

    threads = [Thread(target=work, args=[move(pk)]) for pk in pks]
    threads += [Thread(target=work, args=[lambda step: add_up()]) for _ in range(2)]
    threads += [Thread(target=work, args=[lambda step: create_triggers()])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not caplog.records
    assert kept(STAFF) == counted(STAFF)
    add_up()
    assert kept(STAFF) == counted(STAFF)
