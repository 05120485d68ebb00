"""What the tests of progress read and say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.datasets.models import Dataset
from apps.progress import selectors
from apps.progress.errors import ProgressError
from apps.progress.models import Head, ItemFailure, Run, Stage, Transition, WorkerShare
from apps.progress.reports import Accepted, Report, accept_reports
from apps.progress.snapshot import DatasetProgress

VersionOf = Callable[[Run], int]


def seen(run: Run) -> DatasetProgress:
    return selectors.progress_of(run.dataset_id)


def history(run: Run) -> list[tuple[str, str, str]]:
    return list(Transition.objects.filter(run=run).values_list("stage", "old", "new"))


def heard_of(run: Run, *, seconds_ago: float) -> None:
    moment = timezone.now() - timedelta(seconds=seconds_ago)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=moment, progressed_at=moment)


def say(dataset: Dataset, **said: Any) -> Accepted:
    """A report that is taken."""
    answer = accept_reports([(dataset.pk, Report(**said))])[0]
    assert isinstance(answer, Accepted), answer
    return answer


def refused(dataset: Dataset, **said: Any) -> ProgressError:
    """Why a report is refused; it must have changed nothing."""
    before = rows(dataset)
    answer = accept_reports([(dataset.pk, Report(**said))])[0]
    assert not isinstance(answer, Accepted), answer
    assert rows(dataset) == before
    return answer


def rows(dataset: Dataset) -> list[Any]:
    """All that the database has of a dataset's runs."""
    runs = Run.objects.filter(dataset=dataset)
    return [
        list(found.order_by("pk").values())
        for found in (
            Head.objects.filter(dataset=dataset), runs, Stage.objects.filter(run__in=runs),
            WorkerShare.objects.filter(stage__run__in=runs), ItemFailure.objects.filter(run__in=runs),
        )
    ]  # fmt: skip


def shown(dataset: Dataset) -> DatasetProgress:
    return selectors.progress_of(dataset.pk)
