"""The row of a dataset, which is rendered once for all who list it: always what it would be if it were rendered now."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.pages import rows
from apps.pages.rows import row_html
from apps.progress import services
from apps.progress.models import Run
from apps.progress.selectors import progress_of
from apps.progress.snapshot import DatasetProgress

from .test_groups import heard, start

# When somebody looks, in seconds after a run was begun.
MOMENTS = (0, 0.4, 1, 9, 11, 59, 61, 119, 121, 600, 3_599, 3_601, 90_000, 3_000_000)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_kept", {})


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(timezone, "now", lambda: moment)


@pytest.mark.parametrize("end", ["ready", "failed", "cancelled", "paused", "running", "stalled", "new", "queued"])
def test_row_is_that_of_the_moment_in_which_somebody_looks(db: None, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    pk = make(end)
    now = timezone.now()
    for seconds in MOMENTS:
        at(monkeypatch, now + timedelta(seconds=seconds))
        progress = progress_of(pk)
        shown = row_html(progress, oob=False)
        rows._kept.clear()
        assert shown == row_html(progress, oob=False), seconds


def make(end: str) -> int:
    if end == "new":
        return Dataset.objects.create(dataset_id=end).pk
    if end == "queued":
        return services.begin_run(Dataset.objects.create(dataset_id=end)).dataset_id
    run = start(end)
    match end:
        case "ready":
            services.finish(run.pk)
        case "failed":
            services.fail(run.pk, "No space.")
        case "cancelled":
            services.request_cancel(run.pk, "olga")
            services.cancel(run.pk)
        case "paused":
            services.request_pause(run.pk, "olga")
            services.acknowledge(run.pk)
        case "stalled":
            heard(run, signs=1, progress=10_000)
    return run.dataset_id


def of(run: Run) -> DatasetProgress:
    return progress_of(run.dataset_id)


def test_row_of_a_finished_run_is_rendered_once(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run = services.finish(start("set").pk)
    now = timezone.now()
    at(monkeypatch, now + timedelta(seconds=61))
    first = row_html(of(run), oob=False)
    at(monkeypatch, now + timedelta(seconds=110))
    assert row_html(of(run), oob=False) is first
    assert "1 minute ago" in first
    assert "hx-swap-oob" not in first
    assert "hx-swap-oob" in row_html(of(run), oob=True)


def test_row_of_a_run_under_way_is_rendered_once_a_second(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("set")
    whole_second = timezone.now().replace(microsecond=0) + timedelta(seconds=1)
    at(monkeypatch, whole_second)
    first = row_html(of(run), oob=False)
    at(monkeypatch, whole_second + timedelta(seconds=0.9))
    assert row_html(of(run), oob=False) is first
    services.report(run.pk, current=5)
    assert row_html(of(run), oob=False) is not first, "it has changed"


def test_few_rows_are_kept(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_KEPT", 3)
    for number in range(10):
        row_html(of(start(f"set-{number}")), oob=False)
        assert len(rows._kept) <= 3
