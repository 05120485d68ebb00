"""What is said of a batch, made from the facts of its datasets without a database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.batches.progress import BatchFacts, BatchProgress, MemberFacts, batch_progress
from apps.progress.estimates import SecondsRange
from apps.progress.groups import Group
from apps.progress.transitions import State

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW = MemberFacts(1, "new", "e", 0, 0, Group.NEW, State.PENDING, None, 0, 0, None, None, T0)
QUEUED = replace(NEW, dataset_pk=2, group=Group.QUEUED, run_pk=1, version=1, percent=0.0)
INDEXING = replace(
    QUEUED, dataset_pk=3, group=Group.RUNNING, state=State.INDEXING, percent=20.0, started_at=T0, version=7, failed=2,
    left=SecondsRange(40, 60),
)  # fmt: skip
EMBEDDING = replace(INDEXING, dataset_pk=4, state=State.EMBEDDING, percent=60.0, left=SecondsRange(10, 20))
PAUSED = replace(EMBEDDING, dataset_pk=5, group=Group.PAUSED)
LOST = replace(EMBEDDING, dataset_pk=6, group=Group.ATTENTION)
READY = replace(
    EMBEDDING, dataset_pk=7, group=Group.READY, state=State.READY, percent=100.0, finished_at=T0 + timedelta(seconds=90)
)
FAILED = replace(READY, dataset_pk=8, group=Group.ATTENTION, state=State.ERROR, percent=50.0)
CANCELLED = replace(FAILED, dataset_pk=9, group=Group.CANCELLED)


def facts(*members: MemberFacts, **values: Any) -> BatchFacts:
    known: dict[str, Any] = {
        "batch_pk": 1, "batch_id": "nightly", "name": "", "limit": 2, "batch_epoch": "b", "batch_version": 3,
        "changed_at": T0, **values,
    }  # fmt: skip
    return BatchFacts(members=members, **known)


def progress(*members: MemberFacts) -> BatchProgress:
    return batch_progress(facts(*members))


@pytest.mark.parametrize(
    ("members", "state", "paused", "cancelled"),
    [
        ([], "pending", False, False),
        ([NEW], "pending", False, False),
        ([READY, READY], "ready", False, False),
        ([READY, NEW], "pending", False, False),  # one has still to run
        ([READY, FAILED, QUEUED], "pending", False, False),
        ([READY, FAILED, INDEXING], "indexing", False, False),
        ([INDEXING, EMBEDDING, EMBEDDING], "embedding", False, False),
        ([INDEXING, EMBEDDING], "indexing", False, False),
        ([READY, FAILED], "error", False, False),
        ([CANCELLED, FAILED], "error", False, False),
        ([CANCELLED, READY], "error", False, True),
        ([PAUSED, READY], "embedding", True, False),
        ([PAUSED, NEW], "embedding", True, False),
        ([PAUSED, INDEXING], "indexing", False, False),
        ([replace(QUEUED, group=Group.PAUSED)], "pending", True, False),
    ],
    ids=str,
)
def test_state_of_the_whole(members: list[MemberFacts], state: str, paused: bool, cancelled: bool) -> None:
    shown = progress(*members)
    assert (shown.state, shown.paused, shown.cancelled) == (state, paused, cancelled)


def test_json_has_the_documented_fields() -> None:
    shown = json.loads(progress(READY, EMBEDDING, FAILED, NEW).model_dump_json())
    assert shown == {
        "batch_id": "nightly", "name": "", "state": "embedding", "current": 1, "total": 4,
        "message": "1 of 4 ready, 1 failed.", "error": None, "updated_at": "2026-03-01T12:00:00.000Z",
        "version": 3 + 7 * 3, "epoch": facts(READY, EMBEDDING, FAILED, NEW).epoch, "percent": 52.5,
        "eta_seconds": {"low": 43.75, "high": 91.25},
        "paused": False, "cancelled": False, "failed": 6, "skipped": 0, "limit": 2,
        "counts": {"pending": 1, "indexing": 0, "embedding": 1, "ready": 1, "error": 1},
        "groups": {
            "attention": 1, "running": 1, "paused": 0, "queued": 0, "cancelled": 0, "ready": 1, "new": 1,
        },
        "segments": [
            {"state": "ready", "still": False, "datasets": 1, "percent": 100.0},
            {"state": "embedding", "still": False, "datasets": 1, "percent": 60.0},
            {"state": "error", "still": False, "datasets": 1, "percent": 50.0},
            {"state": "pending", "still": False, "datasets": 1, "percent": 0.0},
        ],
    }  # fmt: skip


def test_percentage_is_a_hundred_only_where_all_are_ready() -> None:
    assert progress().percent is None
    assert progress(*[READY] * 3).percent == 100.0
    assert progress(*[READY] * 99_999, replace(INDEXING, percent=99.99)).percent == 99.99
    assert progress(READY, CANCELLED).percent == 75.0
    assert progress(replace(INDEXING, percent=None)).percent == 0.0  # its plan is not known


def test_paused_and_cancelled_have_segments_of_their_own() -> None:
    segments = [(one.state, one.still, one.datasets) for one in progress(EMBEDDING, PAUSED, FAILED, CANCELLED).segments]
    assert segments == [
        (State.EMBEDDING, False, 1), (State.EMBEDDING, True, 1), (State.ERROR, False, 1), (State.ERROR, True, 1)
    ]  # fmt: skip


def test_version_is_that_of_what_is_seen_and_other_datasets_are_another_epoch() -> None:
    before = facts(INDEXING, READY)
    after = facts(replace(INDEXING, version=8), READY)
    assert (after.version, after.epoch) == (before.version + 1, before.epoch)
    assert facts(READY, INDEXING).epoch == before.epoch  # in any order
    epochs = {
        before.epoch, facts(INDEXING).epoch, facts(INDEXING, FAILED).epoch,
        facts(replace(INDEXING, epoch="other"), READY).epoch, facts(INDEXING, READY, batch_epoch="c").epoch,
    }  # fmt: skip
    assert len(epochs) == 5


def test_what_needs_attention_changes_without_a_version() -> None:
    assert facts(EMBEDDING).vitals != facts(LOST).vitals


def test_nobody_knows_when_a_batch_is_done_that_nobody_works_on() -> None:
    assert progress(QUEUED, READY).eta_seconds is None
    assert progress(LOST, READY).eta_seconds is None
    assert progress(PAUSED).eta_seconds is None
    eta = progress(EMBEDDING, INDEXING).eta_seconds
    assert eta is not None
    assert (eta.low, eta.high) == (40, 60)


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ([FAILED], "1 dataset failed."), ([FAILED, FAILED, CANCELLED], "2 datasets failed."),
        ([CANCELLED], "1 dataset was cancelled."), ([FAILED, INDEXING], None),
    ],
    ids=str,
)  # fmt: skip
def test_error_in_words(members: list[MemberFacts], error: str | None) -> None:
    assert progress(*members).error == error
