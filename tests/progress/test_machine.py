"""Whatever sequence of verbs comes, legal or not, the promises of the domain hold after each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count, pairwise
from typing import Any

import pytest
from django.db import models, transaction
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.datasets.models import Dataset
from apps.progress import control, selectors, services
from apps.progress.errors import ProgressError, RunFinished, RunUnfinished
from apps.progress.events import RunEvent
from apps.progress.models import Head, ItemFailure, Run, Stage, Transition
from apps.progress.services import StagePlan
from apps.progress.signals import Change, progress_changed, runs_moved
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import MOVES, STAGE_MOVES, StageState, State

NUMBERS = count()
NAMES = ("scan", "index", "embed")
# Besides the version itself: what changes by the clock alone.
NOT_COMPARED = {"version", "health", "eta_seconds"}

plans = st.lists(
    st.builds(
        StagePlan,
        name=st.sampled_from(NAMES),
        label=st.sampled_from(["", "Own label"]),
        counts_as=st.sampled_from([State.INDEXING, State.EMBEDDING]),
        total=st.integers(0, 20),
        weight=st.floats(0.1, 10),
    ),
    max_size=3,
    unique_by=lambda plan: plan.name,
)
counts = st.none() | st.integers(0, 30)
names = st.sampled_from([*NAMES, "unknown"])
texts = st.none() | st.sampled_from(["", "a", "b", "\0", "\udcff", "<b>"])
items = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "truncated"])), max_size=4)


class Progress(RuleBasedStateMachine):
    """One dataset. Verbs go to its latest run, and now and then to an older one."""

    @initialize()
    def create(self) -> None:
        self.dataset = Dataset.objects.create(dataset_id=f"machine-{next(NUMBERS)}")
        self.runs: list[int] = []
        self.shown = selectors.progress_of(self.dataset.pk)
        self.announced: list[int] = []
        # A watcher that reads when it hears of a change, and drops what is older than what it has.
        self.watched = self.shown
        progress_changed.connect(self.hear)
        self.events: list[tuple[int, str]] = []
        runs_moved.connect(self.note)

    def teardown(self) -> None:
        progress_changed.disconnect(self.hear)
        runs_moved.disconnect(self.note)

    def note(self, events: list[RunEvent], **_: Any) -> None:
        self.events += [(event.version, event.kind) for event in events]

    def hear(self, change: Change, **_: Any) -> None:
        assert change.dataset_pk == self.dataset.pk
        self.announced.append(change.version)
        fresh = selectors.progress_of(change.dataset_pk)
        if fresh.version > self.watched.version:
            self.watched = fresh

    @contextmanager
    def verb(self, run_pk: int | None) -> Iterator[None]:
        """A call of a service: it may be refused, with one of the documented errors, and changes nothing then."""
        finished = run_pk is not None and Run.objects.get(pk=run_pk).is_finished
        before = self.rows()
        try:
            yield
        except ProgressError as refusal:
            over = isinstance(refusal, RunFinished)
            assert self.rows() == before
        else:
            over = False
        assert over == finished

    def rows(self) -> list[list[dict[str, Any]]]:
        tables: list[tuple[type[models.Model], str]] = [
            (Head, "dataset"), (Run, "dataset"), (Stage, "run__dataset"), (ItemFailure, "run__dataset"),
            (Transition, "run__dataset"),
        ]  # fmt: skip
        return [
            list(model._default_manager.filter(**{where: self.dataset.pk}).order_by("pk").values())
            for model, where in tables
        ]

    def on(self, older: bool, call: Callable[[int], object]) -> None:
        if self.runs:
            pk = self.runs[0] if older else self.runs[-1]
            with self.verb(pk):
                call(pk)

    @rule(plans=plans, message=texts)
    def begin_run(self, plans: list[StagePlan], message: str | None) -> None:
        open_already = Run.objects.filter(dataset=self.dataset).unfinished().exists()
        try:
            self.runs.append(services.begin_run(self.dataset, plans, message=message or "").pk)
        except RunUnfinished:
            assert open_already
        else:
            assert not open_already

    @rule(older=st.booleans(), name=names, total=counts, message=texts)
    def start_stage(self, older: bool, name: str, total: int | None, message: str | None) -> None:
        self.on(older, lambda pk: services.start_stage(pk, name, total=total, message=message))

    @rule(older=st.booleans(), current=counts, total=counts, message=texts, skipped=counts)
    def report(
        self, older: bool, current: int | None, total: int | None, message: str | None, skipped: int | None
    ) -> None:
        self.on(older, lambda pk: services.report(pk, current=current, total=total, message=message, skipped=skipped))

    @rule(current=counts, total=counts)
    def report_twice(self, current: int | None, total: int | None) -> None:
        self.on(False, lambda pk: services.report(pk, current=current, total=total))
        before = self.rows()[0]
        self.on(False, lambda pk: services.report(pk, current=current, total=total))
        assert self.rows()[0] == before

    @rule(older=st.booleans())
    def heartbeat(self, older: bool) -> None:
        if self.runs:
            pk = self.runs[0] if older else self.runs[-1]
            assert services.heartbeat(pk) is not Run.objects.get(pk=pk).is_finished

    @rule(older=st.booleans(), name=names, items=items)
    def record_failures(self, older: bool, name: str, items: list[tuple[str, str]]) -> None:
        self.on(older, lambda pk: services.record_failures(pk, name, items))

    @rule(older=st.booleans(), message=texts)
    def finish(self, older: bool, message: str | None) -> None:
        self.on(older, lambda pk: services.finish(pk, message=message or ""))

    @rule(older=st.booleans(), error=texts)
    def fail(self, older: bool, error: str | None) -> None:
        self.on(older, lambda pk: services.fail(pk, error or ""))

    @rule(older=st.booleans())
    def cancel(self, older: bool) -> None:
        self.on(older, services.cancel)

    @rule(
        older=st.booleans(),
        request=st.sampled_from([services.request_pause, services.request_resume, services.request_cancel]),
    )
    def request(self, older: bool, request: Callable[[int], bool]) -> None:
        self.on(older, request)

    @rule(action=st.sampled_from(control.Action))
    def steer(self, action: control.Action) -> None:
        services.request(action, [self.dataset.pk], "ann")

    @rule(seconds=st.sampled_from([10, 20, 100, 1000]))
    def silence(self, seconds: int) -> None:
        """Time goes by and nothing is heard."""
        moment = timezone.now() - timedelta(seconds=seconds)
        Run.objects.filter(pk__in=self.runs[-1:], heartbeat_at__isnull=False).update(
            heartbeat_at=moment, progressed_at=moment
        )

    @invariant()
    def what_is_shown_is_valid_and_never_goes_back(self) -> None:
        before, now = self.shown, selectors.progress_of(self.dataset.pk)
        assert DatasetProgress.model_validate_json(now.model_dump_json()).version == now.version
        # The version grows with all that watchers see, and with that alone.
        assert now.version >= before.version
        if now.version == before.version:
            assert now.model_dump(exclude=NOT_COMPARED) == before.model_dump(exclude=NOT_COMPARED)
        if now.run == before.run and now.percent is not None and before.percent is not None:
            assert now.percent >= before.percent
        assert (now.run or 0) >= (before.run or 0)
        if now.state == "ready":
            assert (now.current, now.percent) == (now.total, 100)
        if now.is_finished:
            assert now.health is None
            assert not now.paused
            assert all(stage.state != "active" for stage in now.stages)
        if now.state == "error":
            assert now.error
        assert now.is_working == (now.state in ("indexing", "embedding"))
        if now.is_working:
            assert now.stage is not None
            assert now.stage.counts_as == now.state
            assert sum(stage.state == "active" for stage in now.stages) == 1
        assert not now.cancelled or now.state == "error"
        assert all(stage.current <= stage.total or not stage.total for stage in now.stages)
        assert now.failed == ItemFailure.objects.filter(run_id__in=self.runs[-1:]).count()
        self.shown = now

    @rule()
    def look_for_lost_runs(self) -> None:
        services.note_lost_runs()

    @invariant()
    def a_button_leaves_every_state(self) -> None:
        run = Run.objects.filter(dataset=self.dataset).unfinished().first()
        if run is None:
            return
        told = list(self.events)
        with transaction.atomic():
            services.request(control.Action.CANCEL, [self.dataset.pk], "ann")
            Run.objects.filter(pk=run.pk).update(control_at=timezone.now() - 2 * control.OBEY_WITHIN)
            services.request(control.Action.END, [self.dataset.pk], "ann")
            run.refresh_from_db()
            assert (run.state, run.cancelled) == ("error", True)
            transaction.set_rollback(True)
        self.events = told

    @invariant()
    def no_event_is_told_twice(self) -> None:
        assert len(set(self.events)) == len(self.events)
        ends = [kind for _, kind in self.events if kind in ("ready", "failed", "cancelled")]
        assert len(ends) == Run.objects.filter(dataset=self.dataset, finished_at__isnull=False).count()

    @invariant()
    def what_was_announced_leads_to_what_a_fresh_read_shows(self) -> None:
        fresh = selectors.progress_of(self.dataset.pk)
        assert self.announced == list(range(1, fresh.version + 1))
        assert self.watched.model_dump(exclude=NOT_COMPARED - {"version"}) == fresh.model_dump(
            exclude=NOT_COMPARED - {"version"}
        )

    @invariant()
    def the_history_is_legal_and_leads_to_the_present(self) -> None:
        for run in Run.objects.filter(pk__in=self.runs[-1:]):
            history = list(Transition.objects.filter(run=run).order_by("id"))
            assert all(earlier.version <= later.version for earlier, later in pairwise(history))
            reached: dict[str, str] = {}
            for row in history:
                if row.new in Run.Control.values or "retry" in (row.old, row.new):
                    continue
                if row.old:
                    assert reached.get(row.stage, "waiting") == row.old
                    if row.stage:
                        assert StageState(row.new) in STAGE_MOVES[StageState(row.old)]
                    else:
                        assert State(row.new) in MOVES[State(row.old)]
                reached[row.stage] = row.new
            assert reached.pop("") == run.state
            assert reached == {stage.name: stage.state for stage in run.stages.exclude(state="waiting")}


@pytest.mark.django_db(transaction=True)
def test_promises_hold_after_any_sequence_of_verbs() -> None:
    run_state_machine_as_test(Progress, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
