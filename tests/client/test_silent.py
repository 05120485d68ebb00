"""A program that gives signs of life is never lost: not in an item of an hour, and not where the server was away."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from apps.datasets.services import issue_token
from apps.progress import listening, services
from apps.progress.listening import Listening
from apps.progress.models import Run, RunMember, Stage, WorkerShare
from tests.processes import web_server
from tests.services import free_port, wait_until

from .conftest import until
from .test_died import hanging

HOUR = 3600


def move_clock(seconds: float) -> None:
    """Let the clock jump forward: whatever was noted was noted so much earlier."""
    jump = timedelta(seconds=seconds)
    for table, columns in {
        Listening: ["since", "until"], Run: ["created_at", "started_at", "updated_at", "heartbeat_at", "progressed_at"],
        Stage: ["started_at", "worked_until"], RunMember: ["joined_at", "heard_at"],
        WorkerShare: ["heard_at", "progressed_at"],
    }.items():  # fmt: skip
        table._default_manager.update(**{column: F(column) - jump for column in columns})


def healths_until_heard(url: str) -> set[str | None]:
    """Ask for the health until the program is heard, at least once after. Return every answer."""
    answers: set[str | None] = set()
    headers = {"Authorization": f"Bearer {os.environ['DATASET_PROGRESS_TOKEN']}"}
    since = timezone.now()

    def is_heard() -> bool:
        is_there = Run.objects.filter(heartbeat_at__gt=since).exists()
        listening.read()
        services.note_lost_runs()
        services.end_lost_runs()
        answers.add(httpx.get(f"{url}/api/datasets/cats/progress", headers=headers, timeout=60).json()["health"])
        return is_there

    wait_until(is_heard, seconds=90, what="the program was not heard")
    return answers


def test_it_lives_in_an_item_of_an_hour(address: str, settings: Settings) -> None:
    settings.END_LOST_AFTER = 0.25
    with hanging():
        until(lambda progress: progress.current == 4)
        Run.objects.update(progressed_at=F("progressed_at") - timedelta(seconds=HOUR))
        assert healths_until_heard(address) == {"stalled"}
        since = until(lambda progress: progress.health == "stalled").silent_since
        assert since is not None
        assert timezone.now() - since > timedelta(seconds=HOUR)


def test_it_lives_where_the_server_was_away_for_an_hour(
    transactional_db: None, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.END_LOST_AFTER = 0.25
    port = free_port()
    monkeypatch.setenv("DATASET_PROGRESS_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("DATASET_PROGRESS_TOKEN", issue_token("client")[1])
    with ExitStack() as programs:
        with web_server(tmp_path / "first", port=port):
            programs.enter_context(hanging())
            until(lambda progress: progress.current == 4)
            wait_until(Listening.objects.exists, seconds=30, what="no server has noted that it listens")
        move_clock(HOUR)
        with web_server(tmp_path / "second", port=port) as server:
            assert "lost" not in healths_until_heard(server.url)
            until(lambda progress: progress.health == "stalled" and progress.silent_since is not None)
