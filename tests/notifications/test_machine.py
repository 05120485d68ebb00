"""Operators, reporters and workers act on batches in any order: no run is beyond all buttons, nothing is told twice."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.batches.models import Batch, BatchMember
from apps.batches.progress import BatchProgress
from apps.batches.selectors import has_ended, progress_of_batch
from apps.batches.services import add_datasets, change_batch, create_batch, delete_batch, remove_datasets
from apps.batches.steering import steer_batch
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, Token
from apps.notifications import services as notifications
from apps.notifications.batch_ends import end_batches
from apps.notifications.models import Delivery, Event, Subscription
from apps.progress import control, services
from apps.progress.events import EventKind, RunEvent
from apps.progress.models import Run
from apps.progress.reports import Report, accept_reports
from apps.progress.signals import runs_moved

NUMBERS = count()
ENDS = (EventKind.READY, EventKind.FAILED, EventKind.CANCELLED)
SITE = Caller(None, Token(datasets="*"))

datasets = st.integers(0, 2)
batches = st.integers(0, 1)
reports = st.sampled_from(
    [
        {}, {"state": "indexing", "current": 1, "total": 4}, {"state": "embedding", "current": 3, "failed": 2},
        {"state": "ready"}, {"error": "disk full"},
    ]
)  # fmt: skip


class Batches(RuleBasedStateMachine):
    """Two batches of three datasets, of which one is private. The site and a guest want to be told of everything."""

    @initialize()
    def create(self) -> None:
        number = next(NUMBERS)
        for model in (Subscription, Event, Batch):
            model.objects.all().delete()
        self.datasets = [
            Dataset.objects.create(dataset_id=f"m{number}-{name}", visibility=visibility)
            for name, visibility in (("a", "public"), ("b", "public"), ("c", "private"))
        ]
        self.ids = [f"b{number}-{name}" for name in ("all", "some")]
        guest = User.objects.create_user(f"guest-{number}")
        self.subscriptions = [
            Subscription.objects.create(user=user, name="x", channel="page", events=[kind.value for kind in EventKind])
            for user in (None, guest)
        ]
        create_batch(SITE, self.ids[0], dataset_ids=[one.dataset_id for one in self.datasets])
        create_batch(SITE, self.ids[1], dataset_ids=[one.dataset_id for one in self.datasets[:2]])
        self.happened: list[tuple[Any, ...]] = []
        self.shown: dict[str, BatchProgress] = {}
        self.ended: set[tuple[int, frozenset[Any]]] = set()
        runs_moved.connect(self.note)

    def teardown(self) -> None:
        runs_moved.disconnect(self.note)

    def note(self, events: list[RunEvent], **_: Any) -> None:
        mine = {dataset.pk for dataset in self.datasets}
        self.happened += [(event.dataset_pk, event.version, event.kind) for event in events if event.dataset_pk in mine]

    def batch(self, number: int) -> Batch | None:
        return Batch.objects.filter(batch_id=self.ids[number]).first()

    # --- Reporters ---

    @rule(number=datasets, said=reports)
    def report(self, number: int, said: dict[str, Any]) -> None:
        accept_reports([(self.datasets[number].pk, Report(**said))])

    @rule(number=datasets, seconds=st.sampled_from([20, 1000]))
    def fall_silent(self, number: int, seconds: int) -> None:
        moment = timezone.now() - timedelta(seconds=seconds)
        Run.objects.filter(dataset=self.datasets[number], heartbeat_at__isnull=False).unfinished().update(
            heartbeat_at=moment, progressed_at=moment
        )
        services.note_lost_runs()

    # --- Operators ---

    @rule(number=batches, action=st.sampled_from(control.Action), waited=st.booleans())
    def steer(self, number: int, action: control.Action, waited: bool) -> None:
        if waited:
            self.wait()
        if batch := self.batch(number):
            results = steer_batch(SITE, action, batch)
            assert len(results) == BatchMember.objects.filter(batch=batch).count()

    def wait(self) -> None:
        """Let the time go by that a reporter has to obey."""
        Run.objects.filter(dataset__in=self.datasets, control_at__isnull=False).update(
            control_at=F("control_at") - 2 * control.OBEY_WITHIN
        )

    @rule(number=batches, member=datasets, joins=st.booleans())
    def change_members(self, number: int, member: int, joins: bool) -> None:
        if batch := self.batch(number):
            change = add_datasets if joins else remove_datasets
            change(SITE, batch, [self.datasets[member].dataset_id])

    @rule(number=batches, limit=st.integers(0, 2))
    def change_limit(self, number: int, limit: int) -> None:
        if batch := self.batch(number):
            change_batch(batch, limit=limit)

    @rule(number=batches, members=st.sets(datasets))
    def delete_or_create(self, number: int, members: set[int]) -> None:
        if batch := self.batch(number):
            self.ended = {one for one in self.ended if one[0] != batch.pk}
            delete_batch(batch)
        else:
            create_batch(SITE, self.ids[number], dataset_ids=[self.datasets[one].dataset_id for one in members])

    # --- Workers ---

    @rule()
    def handle_events(self) -> None:
        while notifications.handle_events():
            pass

    @rule()
    def look_at_batches(self) -> None:
        """A minute goes by, and a worker looks which batches have ended."""
        Batch.objects.exclude(end_check_at=None).update(end_check_at=timezone.now())
        before = set(Event.objects.filter(batch__isnull=False).values_list("pk", flat=True))
        looked = list(Batch.objects.exclude(end_check_at=None))
        end_batches()
        new = Event.objects.exclude(pk__in=before).filter(deliveries__subscription=self.subscriptions[0])
        told = list(new.filter(batch__isnull=False).values_list("batch", flat=True))
        expected = []
        for batch in looked:
            runs = frozenset(batch.datasets.values_list("pk", "head__run"))
            if has_ended(batch) and runs and (batch.pk, runs) not in self.ended:
                self.ended.add((batch.pk, runs))
                expected.append(batch.pk)
        assert list(map(int, sorted(told))) == sorted(expected)

    @rule()
    def send(self) -> None:
        for subscription in self.subscriptions:
            notifications.send_due(subscription.pk)

    @rule()
    def pass_a_minute(self) -> None:
        ago = timedelta(seconds=61)
        Delivery.objects.update(created_at=F("created_at") - ago, next_at=F("next_at") - ago)

    # --- What always holds ---

    @invariant()
    def what_is_shown_adds_up_and_never_goes_back(self) -> None:
        for number in (0, 1):
            batch = self.batch(number)
            if batch is None:
                continue
            now = progress_of_batch(SITE, batch)
            before = self.shown.get(now.epoch)
            assert before is None or now.version >= before.version
            self.shown[now.epoch] = now
            assert now.total == batch.datasets.count()
            assert sum(now.counts.model_dump().values()) == now.total
            assert sum(now.groups.model_dump().values()) == now.total
            assert sum(segment.datasets for segment in now.segments) == now.total
            assert (now.percent == 100) == (now.state == "ready")
            assert (now.error is None) == (now.state != "error")
            assert (now.current == now.total and now.total > 0) == (now.state == "ready")

    @invariant()
    def buttons_end_every_run_of_a_batch(self) -> None:
        batch = self.batch(0)
        if batch is None or not Run.objects.filter(dataset__batches=batch).unfinished().exists():
            return
        happened = list(self.happened)
        with transaction.atomic():
            steer_batch(SITE, control.Action.CANCEL, batch)
            self.wait()
            steer_batch(SITE, control.Action.END, batch)
            assert not Run.objects.filter(dataset__batches=batch).unfinished().exists()
            transaction.set_rollback(True)
        self.happened = happened

    @invariant()
    def each_event_is_told_once_in_order(self) -> None:
        assert len(set(self.happened)) == len(self.happened)
        mine = Event.objects.filter(dataset__in=self.datasets).order_by("pk")
        assert list(mine.values_list("dataset", "version", "kind")) == self.happened
        for subscription in self.subscriptions:
            told = list(
                subscription.deliveries.filter(event__dataset__isnull=False)
                .order_by("pk")
                .values_list("event", flat=True)
            )
            expected = mine.exclude(handled_at=None).exclude(kind="failures", failed_percent=0)
            if subscription.user is not None:
                expected = expected.filter(dataset__visibility="public")
            assert [pk for pk in told if Event.objects.get(pk=pk).kind != "failures"] == list(
                expected.exclude(kind="failures").values_list("pk", flat=True)
            )
            states = list(subscription.deliveries.order_by("pk").values_list("state", flat=True))
            assert states == sorted(states, key=lambda state: state != "sent")  # none overtakes another
        for dataset in self.datasets:
            ends = [kind for pk, _, kind in self.happened if pk == dataset.pk and kind in ENDS]
            assert len(ends) == Run.objects.filter(dataset=dataset, finished_at__isnull=False).count()


@pytest.mark.django_db(transaction=True)
def test_promises_hold_whatever_operators_reporters_and_workers_do() -> None:
    run_state_machine_as_test(Batches, settings=settings(max_examples=15, stateful_step_count=30, deadline=None))
