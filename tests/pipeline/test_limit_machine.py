"""Whatever operators do to batches, no more jobs are worked on than their limits say, and none waits for ever."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.batches.models import Batch, BatchMember
from apps.batches.services import add_datasets, change_batch, delete_batch, remove_datasets
from apps.batches.steering import steer_batch
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, Token
from apps.pipeline.models import Job, Source
from apps.pipeline.queue import admit_held, sweep
from apps.pipeline.services import queue_run
from apps.pipeline.work.lease import Lease
from apps.progress import services
from apps.progress.control import Action
from apps.progress.errors import RunUnfinished
from apps.progress.models import Run

NUMBERS = count()
SITE = Caller(None, Token(datasets="*"))

datasets = st.integers(0, 4)
batches = st.integers(0, 1)


class Limits(RuleBasedStateMachine):
    """Five datasets with folders in two batches. Workers take their jobs, as many as they are given."""

    @initialize()
    def create(self) -> None:
        number = next(NUMBERS)
        for run in Run.objects.unfinished():
            services.cancel(run.pk)
        Batch.objects.all().delete()
        self.datasets = [Dataset.objects.create(dataset_id=f"j{number}-{name}") for name in "abcde"]
        for dataset in self.datasets:
            Source.objects.create(dataset=dataset, folder=f"/data/{dataset.dataset_id}")
        self.batches = [Batch.objects.create(batch_id=f"l{number}-{limit}", limit=limit) for limit in (1, 2)]
        for batch in self.batches:
            add_datasets(SITE, batch, [dataset.dataset_id for dataset in self.datasets[: 5 - batch.limit]])
        self.leases: dict[int, Lease] = {}

    def batch(self, number: int) -> Batch | None:
        return Batch.objects.filter(pk=self.batches[number].pk).first()

    def run_of(self, number: int) -> Run | None:
        return Run.objects.filter(dataset=self.datasets[number]).unfinished().first()

    # --- Operators ---

    @rule(number=datasets)
    def queue(self, number: int) -> None:
        try:
            queue_run(self.datasets[number])
        except RunUnfinished:
            assert self.run_of(number) is not None

    @rule(number=batches, action=st.sampled_from([Action.PAUSE, Action.RESUME, Action.CANCEL]))
    def steer(self, number: int, action: Action) -> None:
        if batch := self.batch(number):
            steer_batch(SITE, action, batch)

    @rule(number=batches, member=datasets, joins=st.booleans())
    def change_members(self, number: int, member: int, joins: bool) -> None:
        if batch := self.batch(number):
            change = add_datasets if joins else remove_datasets
            change(SITE, batch, [self.datasets[member].dataset_id])

    @rule(number=batches, limit=st.integers(0, 3))
    def change_limit(self, number: int, limit: int) -> None:
        if batch := self.batch(number):
            change_batch(batch, limit=limit)

    @rule(number=batches)
    def delete(self, number: int) -> None:
        if batch := self.batch(number):
            delete_batch(batch)

    # --- Workers ---

    @rule()
    def look(self) -> None:
        sweep()
        admit_held()

    @rule(number=datasets)
    def take(self, number: int) -> None:
        """A worker has a task of the job, perhaps one that was queued long ago."""
        run = self.run_of(number)
        if run is None or run.pk in self.leases:
            return
        lease = Lease(run.pk)
        if lease.acquire():
            self.leases[run.pk] = lease
            for batch in Batch.objects.filter(memberships__dataset=run.dataset_id, memberships__is_limited=True):
                assert not batch.limit or self.leased(batch) <= batch.limit

    def leased(self, batch: Batch) -> int:
        members = BatchMember.objects.filter(batch=batch, is_limited=True)
        return Job.objects.filter(
            run__dataset__in=members.values("dataset"), lease_token__gt="", lease_until__gte=timezone.now()
        ).count()

    @rule(number=datasets, is_done=st.booleans())
    def let_go(self, number: int, is_done: bool) -> None:
        run = self.run_of(number)
        if run is None or run.pk not in self.leases:
            return
        self.leases.pop(run.pk).release()
        if task_id := Job.objects.get(pk=run.pk).task_id:
            DBTaskResult.objects.filter(pk=task_id).delete()
        if run.control == Run.Control.CANCEL:
            services.cancel(run.pk)
        elif is_done:
            services.finish(run.pk)

    # --- What always holds ---

    @invariant()
    def what_is_held_has_no_lease(self) -> None:
        held: Any = Job.objects.filter(is_held=True)
        assert not held.exclude(lease_token="").exists()

    def teardown(self) -> None:
        """Let workers do what is left. Nothing waits for ever."""
        numbers = range(len(self.datasets))
        for number in numbers:
            self.let_go(number, True)
            if run := self.run_of(number):
                services.request_resume(run.pk, "ann")
        for _ in range(2 * len(self.datasets)):
            self.look()
            for number in numbers:
                self.take(number)
                self.let_go(number, True)
        assert not Run.objects.filter(dataset__in=self.datasets).unfinished().exists()


@pytest.mark.django_db(transaction=True)
def test_limits_hold_and_nothing_waits_for_ever_whatever_operators_do() -> None:
    run_state_machine_as_test(Limits, settings=settings(max_examples=15, stateful_step_count=30, deadline=None))
