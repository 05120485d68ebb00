"""What people want to be told of a run: sent once, within the transaction of the change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.events import RunEvent
from apps.progress.models import Run
from apps.progress.signals import runs_moved

from .helpers import heard_of, say, seen


@pytest.fixture
def events() -> Iterator[list[tuple[str, int]]]:
    """The kind of each event, and its version."""
    found: list[tuple[str, int]] = []

    def listen(events: list[RunEvent], **_: Any) -> None:
        assert transaction.get_connection().in_atomic_block
        found.extend((event.kind, event.version) for event in events)

    runs_moved.connect(listen, weak=False)
    yield found
    runs_moved.disconnect(listen)


def test_each_end_is_told_once(dataset: Dataset, events: list[tuple[str, int]]) -> None:
    say(dataset, state="indexing", current=1)
    assert events == []
    say(dataset, state="ready")
    say(dataset, state="ready")  # repeated
    say(dataset, state="indexing", current=1)
    say(dataset, state="error", error="disk full")
    say(dataset, state="indexing", current=1)
    services.request_cancel(Run.objects.latest("pk").pk)
    say(dataset, state="error", error="stopped")
    assert [kind for kind, _ in events] == ["ready", "failed", "cancelled"]
    assert events[-1][1] == seen(Run.objects.latest("pk")).version


def test_lost_and_back_are_told_once_each(indexing: Run, events: list[tuple[str, int]]) -> None:
    services.report(indexing.pk, current=1)
    assert services.note_lost_runs() == 0
    for _ in range(2):
        heard_of(indexing, seconds_ago=1000)
        assert (services.note_lost_runs(), services.note_lost_runs()) == (1, 0)
        assert seen(indexing).health == "lost"
        services.heartbeat(indexing.pk)
        assert seen(indexing).health != "lost"
        services.report(indexing.pk, current=1)
    assert [kind for kind, _ in events] == ["lost", "back", "lost", "back"]


def test_a_lost_run_that_ends_is_not_back(indexing: Run, events: list[tuple[str, int]]) -> None:
    heard_of(indexing, seconds_ago=1000)
    services.note_lost_runs()
    services.request_cancel(indexing.pk)
    assert [kind for kind, _ in events] == ["lost", "cancelled"]


def test_a_paused_run_is_not_lost(indexing: Run) -> None:
    services.request_pause(indexing.pk)
    heard_of(indexing, seconds_ago=1000)
    assert services.note_lost_runs() == 0


def test_failed_items_are_told_for_each_percent(indexing: Run, events: list[tuple[str, int]]) -> None:
    for number in range(4):
        say(indexing.dataset, failed=number, current=50)
        say(indexing.dataset, failed=number, current=51)
    assert [kind for kind, _ in events] == ["failures"] * 3
