"""Datasets, runs and a listener, for the tests of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.models import Run
from apps.progress.services import StagePlan
from apps.progress.signals import Change, progress_changed
from apps.progress.transitions import State

INDEX = StagePlan("index", "Indexing samples", State.INDEXING, "images", total=100, weight=1)
EMBED = StagePlan("embed", "", State.EMBEDDING, "images", total=100, weight=3)


@pytest.fixture
def dataset(db: None) -> Dataset:
    return Dataset.objects.create(dataset_id="cats")


@pytest.fixture
def run(dataset: Dataset) -> Run:
    """A pending run of two stages."""
    return services.begin_run(dataset, [INDEX, EMBED])


@pytest.fixture
def indexing(run: Run) -> Run:
    """A run whose first stage is under way, 0 of 100."""
    return services.start_stage(run.pk, "index")


@pytest.fixture
def announced() -> Iterator[list[Change]]:
    """Every change that is announced while the test runs."""
    changes: list[Change] = []

    def listen(change: Change, **_: Any) -> None:
        changes.append(change)

    progress_changed.connect(listen, weak=False)
    yield changes
    progress_changed.disconnect(listen)


@pytest.fixture
def version_of() -> Callable[[Run], int]:
    """The version that the database has of a run's dataset."""
    from apps.progress.models import Head

    return lambda run: Head.objects.get(dataset=run.dataset_id).version
