"""All datasets of a batch are steered with one request, by those who may steer them."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.batches.steering import steer_batch
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.control import Action
from apps.progress.models import Head, Run

from .conftest import batch_of

Make = Callable[..., Dataset]


def test_each_dataset_that_one_may_steer_is_steered(make: Make, olga: User) -> None:
    batch = batch_of(make("mine", "embedding", owner=olga), make("theirs", "embedding"), make("shut", "embedding"))
    Dataset.objects.filter(dataset_id="shut").update(visibility="private")
    results = {one.dataset_id: (one.changed, one.detail) for one in steer_batch(Caller(olga), Action.PAUSE, batch)}
    assert results == {"mine": (True, "Pausing."), "theirs": (False, "You may not steer this dataset.")}
    paused = Run.objects.filter(control=Run.Control.PAUSE).values_list("dataset__dataset_id", flat=True)
    assert list(paused) == ["mine"]


def test_a_retry_also_begins_what_never_ran(make: Make, olga: User) -> None:
    never = make("never", owner=olga)
    batch = batch_of(never, make("failed", "error", owner=olga), make("works", "embedding", owner=olga), make("theirs"))
    caller = Caller(olga)
    assert [(one.dataset_id, one.changed) for one in steer_batch(caller, Action.RETRY, batch)] == [
        ("failed", True), ("never", True), ("theirs", False), ("works", False)
    ]  # fmt: skip
    assert set(Head.objects.exclude(retry="").values_list("dataset__dataset_id", flat=True)) == {"never", "failed"}
    head = Head.objects.get(dataset=never)
    assert (head.retry_by, head.version) == ("olga", 1)
    assert not any(one.changed for one in steer_batch(caller, Action.RETRY, batch))  # asked already
    assert Head.objects.get(dataset=never).version == 1
    run = services.begin_run(never)
    assert run.retry == "all"
    assert Head.objects.get(dataset=never).retry == ""


def test_steering_takes_queries_by_the_hundred(make: Make, olga: User) -> None:
    one = batch_of(make("one", "embedding", owner=olga), make("one-new", owner=olga), batch_id="one-batch")
    with CaptureQueriesContext(connection) as of_one:
        steer_batch(Caller(olga), Action.RETRY, one)
    many = batch_of(*(make(f"set-{number:02}", owner=olga) for number in range(50)))
    with CaptureQueriesContext(connection) as of_many:
        assert len(steer_batch(Caller(olga), Action.RETRY, many)) == 50
    assert len(of_many) <= len(of_one)
