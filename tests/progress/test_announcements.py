"""A change is announced once it can be read, and never when it was taken back."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from apps.datasets.models import Dataset
from apps.progress import selectors, services
from apps.progress.errors import RunFinished
from apps.progress.models import Run
from apps.progress.signals import Change, progress_changed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(transactional_db: None) -> Run:
    return services.begin_run(Dataset.objects.create(dataset_id="cats"), [services.StagePlan("index", total=100)])


def test_each_change_is_announced_with_its_version(run: Run, announced: list[Change]) -> None:
    services.start_stage(run.pk, "index")
    services.report(run.pk, current=1)
    services.request_pause(run.pk)
    services.finish(run.pk)
    assert announced == [Change(run.dataset_id, version) for version in (2, 3, 4, 5)]
    assert selectors.versions_of([run.dataset_id])[run.dataset_id][1] == 5


def test_the_first_run_of_a_dataset_is_announced(transactional_db: None, announced: list[Change]) -> None:
    dataset = Dataset.objects.create(dataset_id="dogs")
    services.begin_run(dataset)
    assert announced == [Change(dataset.pk, 1)]


def test_what_changes_nothing_is_not_announced(run: Run, announced: list[Change]) -> None:
    services.start_stage(run.pk, "index")
    services.report(run.pk, current=1, message="one")
    announced.clear()
    services.report(run.pk, current=1, message="one")
    services.start_stage(run.pk, "index")
    services.heartbeat(run.pk)
    services.record_failures(run.pk, "index", [])
    services.request_resume(run.pk)
    assert announced == []


def test_whoever_hears_of_a_change_can_read_it(run: Run) -> None:
    read: list[tuple[int, int]] = []

    def listen(change: Change, **_: Any) -> None:
        assert not transaction.get_connection().in_atomic_block
        read.append((change.version, selectors.progress_of(change.dataset_pk).version))

    progress_changed.connect(listen)
    services.start_stage(run.pk, "index")
    assert read == [(2, 2)]


def test_a_change_within_a_callers_transaction_is_announced_when_that_is_committed(
    run: Run, announced: list[Change]
) -> None:
    with transaction.atomic():
        services.start_stage(run.pk, "index")
        services.report(run.pk, current=1)
        assert announced == []
    assert announced == [Change(run.dataset_id, 2), Change(run.dataset_id, 3)]


def test_a_change_that_is_rolled_back_is_not_announced(run: Run, announced: list[Change]) -> None:
    with transaction.atomic():
        services.start_stage(run.pk, "index")
        transaction.set_rollback(True)
    assert announced == []
    assert selectors.progress_of(run.dataset_id).state == "pending"


def test_a_refusal_is_not_announced(run: Run, announced: list[Change]) -> None:
    services.finish(run.pk)
    announced.clear()
    with pytest.raises(RunFinished):
        services.report(run.pk, current=1)
    assert announced == []


def test_a_listener_that_raises_harms_neither_the_writer_nor_the_others(run: Run, announced: list[Change]) -> None:
    def broken(**_: Any) -> None:
        raise ZeroDivisionError

    progress_changed.connect(broken)
    services.start_stage(run.pk, "index")
    assert announced == [Change(run.dataset_id, 2)]
