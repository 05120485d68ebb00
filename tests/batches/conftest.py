"""Datasets in every state, and batches of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser, User

from apps.batches.models import Batch, BatchMember
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from apps.progress.services import StagePlan
from apps.progress.transitions import State

ANYONE = Caller(AnonymousUser())


@pytest.fixture
def olga(db: None) -> User:
    return User.objects.create_user("olga")


@pytest.fixture
def make(db: None) -> Callable[..., Dataset]:
    """Create a dataset, and bring its first run into a state."""

    def make_dataset(dataset_id: str, state: str = "new", *, current: int = 40, owner: User | None = None) -> Dataset:
        dataset = Dataset.objects.create(dataset_id=dataset_id, visibility="public", owner=owner)
        if state != "new":
            begin(dataset, state, current)
        return dataset

    return make_dataset


def begin(dataset: Dataset, state: str, current: int = 40) -> Run:
    """Begin a run, and bring it into a state."""
    run = services.begin_run(dataset, [StagePlan("work", counts_as=State.EMBEDDING, total=100)])
    if state == "pending":
        return run
    services.start_stage(run.pk, "work")
    services.report(run.pk, current=current)
    match state:
        case "paused":
            services.request_pause(run.pk, "olga")
            services.acknowledge(run.pk)
        case "ready":
            services.finish(run.pk)
        case "error":
            services.fail(run.pk, "No space.")
        case "cancelled":
            services.cancel(run.pk)
    run.refresh_from_db()
    return run


def batch_of(*datasets: Dataset, batch_id: str = "nightly", limit: int = 0, owner: User | None = None) -> Batch:
    batch = Batch.objects.create(batch_id=batch_id, limit=limit, owner=owner)
    BatchMember.objects.bulk_create(BatchMember(batch=batch, dataset=dataset, is_limited=True) for dataset in datasets)
    return batch
