"""What grows is pruned, after the days of the settings; what people still need is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from apps.core import sql
from apps.datasets.models import Dataset, Token
from apps.datasets.services import issue_token, revoke_tokens
from apps.pipeline.images.media import thumbnail_folder, thumbnail_root
from apps.pipeline.models import Job
from apps.pipeline.queue import enqueue
from apps.pipeline.work.removal import prune
from apps.progress import services as progress
from apps.progress.models import ItemFailure, Run, Transition, WorkerShare
from apps.progress.reports import Report, accept_reports
from apps.progress.transitions import State

pytestmark = pytest.mark.django_db(transaction=True)


def pass_days(days: float) -> None:
    """Let what there is have happened so many days ago."""
    past = timezone.now() - timedelta(days=days)
    Run.objects.filter(finished_at__isnull=False).update(finished_at=past)
    DBTaskResult.objects.filter(finished_at__isnull=False).update(finished_at=past)
    Token.objects.filter(revoked_at__isnull=False).update(revoked_at=past)
    Token.objects.filter(expires_at__isnull=False).update(expires_at=past)
    Session.objects.filter(session_key__startswith="ended").update(expire_date=past)


def prune_all() -> None:
    prune(threading.Event())


@pytest.fixture
def runs() -> list[Run]:
    """Three runs of a dataset: two that have ended, and one that is under way."""
    dataset = Dataset.objects.create(dataset_id="cats")
    for end in (State.READY, State.ERROR, None):
        accept_reports([
            (dataset.pk, Report(worker="one", current=4, total=9, failed=1, failures=[("a", "broken")])),
            *([(dataset.pk, Report(state=end))] if end else []),
        ])  # fmt: skip
    return list(Run.objects.order_by("number"))


def listed(run: Run) -> list[int]:
    return [
        ItemFailure.objects.filter(run=run).count(), Transition.objects.filter(run=run).count(),
        WorkerShare.objects.filter(stage__run=run).count(),
    ]  # fmt: skip


def test_old_runs_lose_their_lists_and_later_go(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ROWS_PER_DELETE", 1)
    before = [listed(run) for run in runs]
    assert all(all(counts) for counts in before)
    pass_days(89)
    prune_all()
    assert [listed(run) for run in runs] == before
    pass_days(91)
    prune_all()
    assert [listed(run) for run in runs] == [[0, 0, 0], [0, 0, 0], before[2]]
    assert list(Run.objects.order_by("number").values_list("failed", flat=True)) == [1, 1, 1]
    pass_days(731)
    prune_all()
    assert list(Run.objects.values_list("number", flat=True)) == [3]


def test_latest_run_is_kept_with_its_lists(runs: list[Run]) -> None:
    progress.finish(runs[2].pk)
    kept = listed(runs[2])
    pass_days(10_000)
    prune_all()
    assert Run.objects.get() == runs[2]
    assert listed(runs[2]) == kept
    assert progress.begin_run(runs[2].dataset).number == 4


def test_zero_days_keep_everything(runs: list[Run], settings: Any) -> None:
    settings.KEEP_DETAILS_DAYS = settings.KEEP_RUNS_DAYS = settings.KEEP_TASKS_DAYS = settings.KEEP_TOKENS_DAYS = 0
    before = [listed(run) for run in runs]
    revoke_tokens(Token.objects.filter(pk=issue_token("old")[0].pk))
    pass_days(10_000)
    prune_all()
    assert [listed(run) for run in runs] == before
    assert Token.objects.exists()


def test_tokens_that_nobody_can_use_go(db: None) -> None:
    issue_token("in use")
    issue_token("expired", days=1)
    revoke_tokens(Token.objects.filter(pk=issue_token("revoked")[0].pk))
    pass_days(89)
    prune_all()
    assert Token.objects.count() == 3
    pass_days(91)
    prune_all()
    assert Token.objects.get().name == "in use"


def test_tasks_that_are_done_go(runs: list[Run]) -> None:
    for run in runs:
        enqueue(Job.objects.create(run=run))
    done, failed, waiting = DBTaskResult.objects.order_by("enqueued_at")
    done.claim("worker")
    done.set_successful("ready")
    failed.claim("worker")
    failed.set_failed(ValueError("no"))
    pass_days(8)
    prune_all()
    assert DBTaskResult.objects.get() == waiting


def test_sessions_that_have_ended_go() -> None:
    for key, days in (("ended", -2), ("open", 2)):
        Session.objects.create(
            session_key=key, session_data=SessionStore().encode({}), expire_date=timezone.now() + timedelta(days=days)
        )
    prune_all()
    assert Session.objects.get().session_key == "open"


def test_thumbnails_of_no_dataset_go(runs: list[Run]) -> None:
    ours, orphans = thumbnail_folder(runs[0].dataset_id), thumbnail_folder(10**9)
    for folder in (ours, orphans):
        folder.mkdir(parents=True)
    prune_all()
    assert (ours.exists(), orphans.exists()) == (True, False)


def test_thumbnails_of_a_dataset_that_is_made_meanwhile_stay(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a new dataset appears at any moment of the look at the folders: here, in the middle of it."""
    ours = thumbnail_folder(runs[0].dataset_id)
    ours.mkdir(parents=True)
    listed = Path.iterdir
    made: list[Path] = []

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder == thumbnail_root():
            dataset = Dataset.objects.create(dataset_id="made-meanwhile")
            made.append(thumbnail_folder(dataset.pk))
            made[0].mkdir(parents=True)
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    prune_all()
    assert made[0].exists()
    assert ours.exists()
