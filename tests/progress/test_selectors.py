"""Reads take one query for as many datasets as a page or a flush asks for, and any number of them can be asked for."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, Token
from apps.progress import selectors, services
from apps.progress.models import Run

from .conftest import EMBED, INDEX


@pytest.fixture
def many(db: None) -> list[int]:
    """Twenty datasets: every fourth never ran, the others are at 1, 2, 3, … of 100."""
    datasets = [Dataset.objects.create(dataset_id=f"d{number:02}") for number in range(20)]
    for number, dataset in enumerate(datasets):
        if number % 4:
            run = services.begin_run(dataset, [INDEX, EMBED])
            services.start_stage(run.pk, "index")
            services.report(run.pk, current=number)
    return [dataset.pk for dataset in datasets]


@pytest.mark.parametrize("count", [1, 2, 20])
def test_progress_of_many_takes_one_query(many: list[int], count: int, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        progress = selectors.progress_of_many(many[:count])
    assert list(progress) == many[:count]
    assert [p.current for p in progress.values()] == [number if number % 4 else 0 for number in range(count)]
    assert {len(p.stages) for p in progress.values()} <= {0, 2}


def test_stages_come_in_order(run: Run) -> None:
    assert [stage.name for stage in selectors.progress_of(run.dataset_id).stages] == ["index", "embed"]


def test_only_the_latest_run_is_seen(indexing: Run) -> None:
    services.report(indexing.pk, current=40, message="the first")
    services.finish(indexing.pk)
    services.begin_run(indexing.dataset, [EMBED], message="the second")
    progress = selectors.progress_of(indexing.dataset_id)
    assert (progress.run, progress.state, progress.message, progress.current) == (2, "pending", "the second", 0)
    assert [stage.name for stage in progress.stages] == ["embed"]


def test_progress_of_one_takes_one_query(indexing: Run, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert selectors.progress_of(indexing.dataset_id).state == "indexing"


def test_progress_of_a_dataset_that_is_gone_is_refused(db: None) -> None:
    with pytest.raises(Dataset.DoesNotExist):
        selectors.progress_of(1)


def test_many_leaves_out_what_is_gone(many: list[int]) -> None:
    assert list(selectors.progress_of_many([many[1], 0, many[-1] + 1])) == [many[1]]


def test_versions_take_one_query(many: list[int], django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        versions = selectors.versions_of([*many, 0])
    # begin, start, report; a dataset that never ran is at 0
    assert {pk: version for pk, (_, version) in versions.items()} == {
        pk: 3 if number % 4 else 0 for number, pk in enumerate(many)
    }


def test_the_versions_are_those_of_the_snapshots(many: list[int]) -> None:
    shown = {pk: (one.epoch, one.version) for pk, one in selectors.progress_of_many(many).items()}
    assert selectors.versions_of(many) == shown
    assert len({epoch for epoch, _ in shown.values()}) == len(many)


def test_whoever_may_see_a_dataset_is_told_of_it_in_one_query(indexing: Run, django_assert_num_queries: Any) -> None:
    owner, stranger, chief = (User.objects.create_user(name) for name in ("owner", "stranger", "chief"))
    dataset_id = indexing.dataset.dataset_id
    Dataset.objects.filter(dataset_id=dataset_id).update(visibility=Dataset.Visibility.PRIVATE, owner=owner)

    def told(caller: Caller) -> bool:
        with django_assert_num_queries(1):
            facts = selectors.facts_for(caller, dataset_id)
        return facts is not None and facts == selectors.facts_of([indexing.dataset_id])[indexing.dataset_id]

    for _ in range(2):  # the second time with the SQL of the first
        assert [told(Caller(who)) for who in (owner, stranger, AnonymousUser())] == [True, False, False]
        assert [told(Caller(None, Token(datasets=given))) for given in ("*", dataset_id, f"{dataset_id}-2")] == [
            True,
            True,
            False,
        ]
        assert told(Caller(chief)) is False
    Dataset.objects.get(dataset_id=dataset_id).members.add(stranger)
    chief.is_staff = True
    assert told(Caller(stranger))
    assert told(Caller(chief))
    assert selectors.facts_for(Caller(owner), "another") is None


def test_the_sql_of_those_who_asked_last_is_kept_and_no_more(indexing: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "STATEMENTS", 2)
    for number in range(8):
        selectors.facts_for(Caller(User(pk=10**6 + number)), indexing.dataset.dataset_id)
        assert len(selectors._statements) <= 2


def test_more_ids_than_a_statement_takes_can_be_asked_for(many: list[int]) -> None:
    ids = [*many, *range(10**9, 10**9 + 70_000)]
    assert list(selectors.versions_of(ids)) == many
    assert list(selectors.facts_of(ids)) == many
