"""What must never be false is refused by the database itself, whoever writes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from apps.progress import services
from apps.progress.models import Head, ItemFailure, Run, RunMember, RunMessage, Stage, UnlistedFailures, WorkerShare

LONG_AGO = timezone.now() - timedelta(days=1)

# The constraint, and a row changed so that it is broken.
BROKEN_BY_UPDATE: list[tuple[str, type[models.Model], dict[str, Any]]] = [
    # An unknown state is neither finished nor not, so it breaks two; a database names the one that it looked at first.
    ("run_state_known|run_finished_has_a_time", Run, {"state": "paused"}),
    ("run_control_known", Run, {"control": "stop"}),
    ("run_retry_known", Run, {"retry": "some"}),
    ("head_retry_has_a_time", Head, {"retry": "all"}),
    ("run_percent_in_range", Run, {"percent": 100.1}),
    ("run_percent_in_range", Run, {"percent": -0.1}),
    ("run_finished_has_a_time", Run, {"state": "ready"}),
    ("run_finished_has_a_time", Run, {"finished_at": timezone.now()}),
    ("stage_counts_as_known", Stage, {"counts_as": "ready"}),
    ("stage_state_known", Stage, {"state": "paused"}),
    ("stage_weight_positive", Stage, {"weight": 0}),
    ("stage_count_in_range", Stage, {"current": 101}),
    ("stage_total_is_counted_when_done", Stage, {"total": 99}),
    ("stage_total_is_counted_when_done", Stage, {"state": "done", "current": 60}),
    ("member_heard_after_joining", RunMember, {"heard_at": LONG_AGO}),
    ("member_left_after_joining", RunMember, {"left_at": LONG_AGO}),
    ("member_that_failed_has_left", RunMember, {"error": "disk full"}),
    ("stage_shares_are_counted", Stage, {"shared": 1}),
]
BROKEN_BY_INSERT = [
    "run_number_once", "run_one_unfinished", "stage_position_once", "stage_name_once", "stage_one_active",
    "failure_once_an_item", "run_idempotency_key_once", "share_once_a_worker",
    "unlisted_once_a_reason", "member_once_a_run", "message_once_a_slot",
]  # fmt: skip


@pytest.mark.parametrize(("name", "model", "values"), BROKEN_BY_UPDATE)
def test_a_row_cannot_be_changed_so(
    indexing: Run, name: str, model: type[models.Model], values: dict[str, Any]
) -> None:
    _member(indexing)
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        model._default_manager.update(**values)


@pytest.mark.parametrize("field", ["failed", "skipped"])
def test_a_count_of_a_run_is_not_negative(indexing: Run, field: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.update(**{field: -1})


@pytest.mark.parametrize("field", ["current", "planned"])
def test_a_count_of_a_stage_is_not_negative(indexing: Run, field: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Stage.objects.update(**{field: -1})


def _member(run: Run) -> None:
    now = timezone.now()
    RunMember.objects.create(run=run, worker="one", joined_at=now, heard_at=now)


def _insert(name: str, run: Run) -> None:
    now = timezone.now()
    done = {"state": "ready", "finished_at": now, "created_at": now, "updated_at": now}
    match name:
        case "run_number_once":
            Run.objects.create(dataset=run.dataset, number=run.number, **done)
        case "run_one_unfinished":
            Run.objects.create(dataset=run.dataset, number=run.number + 1, created_at=now, updated_at=now)
        case "stage_position_once":
            Stage.objects.create(run=run, position=0, name="other")
        case "stage_name_once":
            Stage.objects.create(run=run, position=9, name="index")
        case "stage_one_active":
            Stage.objects.create(run=run, position=9, name="other", state="active")
        case "run_idempotency_key_once":
            for number in (8, 9):
                Run.objects.create(dataset=run.dataset, number=number, idempotency_key="one", **done)
        case "share_once_a_worker":
            for _ in range(2):
                WorkerShare.objects.create(stage=run.stages.get(name="index"), worker="one")
        case "member_once_a_run":
            for _ in range(2):
                _member(run)
        case "unlisted_once_a_reason":
            for _ in range(2):
                UnlistedFailures.objects.create(run=run, stage="index", reason="truncated", count=1)
        case "message_once_a_slot":
            for number in (0, RunMessage.KEPT):
                RunMessage.objects.create(run=run, slot=0, number=number, text="half", at=now)
        case "failure_once_an_item":
            for _ in range(2):
                ItemFailure.objects.create(run=run, stage="index", item="a.jpg", reason="", at=now)


@pytest.mark.parametrize("name", BROKEN_BY_INSERT)
def test_a_row_cannot_be_added_so(indexing: Run, name: str) -> None:
    # SQLite names the columns of a unique index in its refusal, PostgreSQL the index.
    words = name if connection.vendor == "postgresql" else "UNIQUE"
    with pytest.raises(IntegrityError, match=words), transaction.atomic():
        _insert(name, indexing)


def test_the_next_run_may_begin_once_the_last_one_is_over(indexing: Run) -> None:
    services.finish(indexing.pk)
    assert services.begin_run(indexing.dataset).number == indexing.number + 1


def test_every_constraint_of_the_app_is_tested_here() -> None:
    declared = {c.name for model in apps.get_app_config("progress").get_models() for c in model._meta.constraints}
    assert declared == {name.split("|")[0] for name, *_ in BROKEN_BY_UPDATE} | set(BROKEN_BY_INSERT)
