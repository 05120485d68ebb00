"""The facts of a batch are those of the datasets that the caller sees, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.batches import selectors
from apps.batches.models import Batch, BatchMember
from apps.batches.progress import BatchProgress, batch_progress
from apps.batches.selectors import batch_facts, progress_of_batch
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.progress import services
from apps.progress.models import Head, Run

from .conftest import ANYONE, batch_of

Make = Callable[..., Dataset]
STATES = ("new", "pending", "embedding", "paused", "ready", "error", "cancelled")


def test_facts_are_what_the_datasets_say(make: Make) -> None:
    batch = batch_of(*(make(state, state) for state in STATES))
    make("elsewhere", "error")
    shown = progress_of_batch(ANYONE, batch)
    assert shown.groups.model_dump() == {
        "attention": 1, "running": 1, "paused": 1, "queued": 1, "cancelled": 1, "ready": 1, "new": 1
    }  # fmt: skip
    assert shown.counts.model_dump() == {"pending": 2, "indexing": 0, "embedding": 2, "ready": 1, "error": 2}
    assert shown.percent == round((4 * 40 + 100) / 7, 2)
    assert shown.version == sum(Head.objects.filter(dataset__batches=batch).values_list("version", flat=True))


def test_only_visible_datasets_count(make: Make, olga: User) -> None:
    shut = make("shut", "error", owner=olga)
    batch = batch_of(make("open", "ready"), shut)
    Dataset.objects.filter(pk=shut.pk).update(visibility="private")
    anyone, owner = (progress_of_batch(caller, batch) for caller in (ANYONE, Caller(olga)))
    assert (anyone.total, anyone.state, owner.total, owner.state) == (1, "ready", 2, "error")
    assert anyone.epoch != owner.epoch
    before = anyone.version
    services.begin_run(shut)
    assert progress_of_batch(ANYONE, batch).version == before  # what is hidden changes nothing that is seen


def test_a_deleted_dataset_is_gone(make: Make) -> None:
    gone = make("gone", "error")
    batch = batch_of(make("here", "ready"), gone)
    before = progress_of_batch(ANYONE, batch)
    delete_dataset(gone)
    after = progress_of_batch(ANYONE, batch)
    assert (after.state, after.total) == ("ready", 1)
    assert after.epoch != before.epoch


def test_versions_grow_with_every_change(make: Make) -> None:
    dataset = make("cats", "embedding")
    batch = batch_of(dataset, make("dogs", "pending"))
    seen: list[BatchProgress] = [progress_of_batch(ANYONE, batch)]
    run = Run.objects.get(dataset=dataset)
    for current in (50, 60, 70):
        services.report(run.pk, current=current)
        seen.append(progress_of_batch(ANYONE, batch))
    services.finish(run.pk)
    seen.append(progress_of_batch(ANYONE, batch))
    assert len({one.epoch for one in seen}) == 1
    assert [one.version for one in seen] == sorted({one.version for one in seen})
    percents = [one.percent or 0 for one in seen]
    assert percents == sorted(percents)


def test_a_thousand_datasets_take_as_many_queries_as_three(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "ESTIMATE_SECONDS", 3600.0)
    few = batch_of(*(make(f"few-{number}", "embedding") for number in range(3)), batch_id="few")
    with CaptureQueriesContext(
        connection,
    ) as of_few:
        batch_facts(ANYONE, few, timezone.now())
    run = Run.objects.filter(dataset__dataset_id="few-0").get()
    datasets = Dataset.objects.bulk_create(
        Dataset(dataset_id=f"many-{number:04}", visibility="public") for number in range(1000)
    )
    runs = []
    for dataset in datasets:
        run.pk, run.dataset_id = None, dataset.pk
        runs.append(Run(**{field.attname: getattr(run, field.attname) for field in Run._meta.concrete_fields}))
    Run.objects.bulk_create(runs)
    Head.objects.bulk_create(Head(dataset_id=run.dataset_id, run=run, version=5) for run in runs)
    many = Batch.objects.create(batch_id="many")
    BatchMember.objects.bulk_create(BatchMember(batch=many, dataset=dataset) for dataset in datasets)
    with CaptureQueriesContext(connection) as of_many:
        facts = batch_facts(ANYONE, many, timezone.now())
    assert len(of_many) == len(of_few) == 2
    assert batch_progress(facts).counts.embedding == 1000
    with CaptureQueriesContext(connection) as again:
        batch_facts(ANYONE, many, timezone.now())
    assert len(again) == 1  # the time left was estimated a moment ago
