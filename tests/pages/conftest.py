"""People and datasets for the tests of pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import Client

from apps.datasets.models import Dataset, Sample
from apps.progress import services
from apps.progress.models import Run
from apps.progress.services import StagePlan
from apps.progress.transitions import State

STAGES = (
    StagePlan("index", counts_as=State.INDEXING, unit="files", weight=4),
    StagePlan("embed", counts_as=State.EMBEDDING, unit="samples"),
)


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("olga", password="olga")


@pytest.fixture
def stranger(db: None) -> User:
    return User.objects.create_user("sam", password="sam")


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_user("stef", password="stef", is_staff=True)


@pytest.fixture
def public(owner: User) -> Dataset:
    return Dataset.objects.create(dataset_id="open-1", name="Open <one>", visibility="public", owner=owner)


@pytest.fixture
def private(owner: User) -> Dataset:
    return Dataset.objects.create(dataset_id="shut.1", visibility="private", owner=owner)


@pytest.fixture
def as_user() -> Callable[[User | AnonymousUser | None], Client]:
    """A browser in which someone is logged in, or no one."""

    def browser(user: User | AnonymousUser | None) -> Client:
        client = Client()
        if isinstance(user, User):
            client.force_login(user)
        return client

    return browser


@pytest.fixture
def run_in() -> Callable[..., Run]:
    """Bring a new run of a dataset into a state, through the moves that lead there."""

    def bring(dataset: Dataset, state: str, current: int = 45, total: int = 100) -> Run:
        run = services.begin_run(dataset, STAGES)
        if state == "pending":
            return run
        services.start_stage(run.pk, "index", total=total)
        services.report(run.pk, current=current)
        if state == "embedding":
            services.start_stage(run.pk, "embed", total=total)
            services.report(run.pk, current=current)
        elif state == "ready":
            services.finish(run.pk)
        elif state == "error":
            services.fail(run.pk, "The folder <b>went</b> away.")
        run.refresh_from_db()
        assert run.state == state
        return run

    return bring


@pytest.fixture
def samples_in() -> Callable[..., list[Sample]]:
    """Give a dataset samples, without files."""

    def fill(dataset: Dataset, number: int, prefix: str = "", **values: Any) -> list[Sample]:
        fields = {
            "size": 1234, "mtime_ns": 0, "format": "JPEG", "width": 640, "height": 480, "thumbnail_width": 256,
            "thumbnail_height": 192, "seen_in_run": 1, **values,
        }  # fmt: skip
        rows = [
            Sample(dataset=dataset, path=f"{dataset.dataset_id}/{prefix}{i:05}.jpg", sha256=f"{i:064x}", **fields)
            for i in range(number)
        ]
        return Sample.objects.bulk_create(rows)

    return fill
