"""The server and the dataset of the live tests, and a dataset of which a stage is under way."""

from __future__ import annotations

import pytest

from apps.datasets.models import Dataset
from apps.progress import services
from tests.live.conftest import dataset, server

__all__ = ["dataset", "server"]


@pytest.fixture
def running(dataset: Dataset) -> Dataset:
    run = services.begin_run(dataset, [services.StagePlan("index", total=100)])
    services.start_stage(run.pk, "index")
    return dataset
