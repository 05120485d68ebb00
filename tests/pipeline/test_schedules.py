"""Folders are processed again when it is time: once each, whatever else goes on, and what is skipped is said."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.pages.runs.events import events_of
from apps.pipeline.models import Job, Source
from apps.pipeline.schedules import Schedule, ScheduleRefused, begin_scheduled_runs, set_schedule
from apps.progress import services
from apps.progress.models import Run
from tests.processes import worker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HOURLY = Schedule(timedelta(hours=1))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A dataset of an empty folder that is processed every hour."""
    folder = tmp_path / "images"
    folder.mkdir()
    dataset = Dataset.objects.create(dataset_id="cats")
    Source.objects.create(dataset=dataset, folder=str(folder))
    set_schedule(dataset, HOURLY)
    return dataset


def let_pass(**time: float) -> None:
    for pk, planned in Source.objects.exclude(next_run_at=None).values_list("pk", "next_run_at"):
        assert planned is not None
        Source.objects.filter(pk=pk).update(next_run_at=planned - timedelta(**time))


def test_nothing_is_begun_before_its_time(dataset: Dataset) -> None:
    assert begin_scheduled_runs() == 0
    let_pass(minutes=59)
    assert begin_scheduled_runs() == 0
    assert not Run.objects.exists()


def test_what_is_due_is_begun_and_queued_once(dataset: Dataset) -> None:
    let_pass(minutes=61)
    assert begin_scheduled_runs() == 1
    assert begin_scheduled_runs() == 0
    run = Run.objects.get()
    assert (run.state, run.started_by) == ("pending", "the schedule")
    assert Job.objects.get(run=run).task_id


def test_several_workers_begin_each_run_once(dataset: Dataset) -> None:
    for number in range(5):
        other = Dataset.objects.create(dataset_id=f"d{number}")
        Source.objects.create(dataset=other, folder="/data")
        set_schedule(other, HOURLY)
    let_pass(minutes=61)
    begun: list[int] = []
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        begun.append(begin_scheduled_runs())
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(begun) == 6
    assert Run.objects.count() == Job.objects.count() == 6


def test_while_a_run_goes_on_the_next_is_skipped_and_its_events_say_so(dataset: Dataset) -> None:
    run = services.begin_run(dataset)
    version = dataset.head.version
    let_pass(minutes=61)
    assert begin_scheduled_runs() == 0
    assert begin_scheduled_runs() == 0
    assert Run.objects.count() == 1
    told = [event.text for event in events_of(run, {}, may_steer=False) if "Skipped" in event.text]
    assert len(told) == 1
    assert told[0].startswith("Skipped the run scheduled for ")
    dataset.head.refresh_from_db()
    assert dataset.head.version == version + 1  # open pages show it
    services.finish(run.pk)
    let_pass(minutes=61)
    assert begin_scheduled_runs() == 1


def test_after_an_outage_it_is_done_once_and_at_its_usual_times(dataset: Dataset) -> None:
    planned = Source.objects.get().next_run_at
    assert planned is not None
    let_pass(hours=5, minutes=30)
    assert begin_scheduled_runs() == 1
    following = Source.objects.get().next_run_at
    assert following is not None
    assert timezone.now() < following <= timezone.now() + timedelta(hours=1)
    assert (following - (planned - timedelta(minutes=30))) % timedelta(hours=1) == timedelta()


def test_a_deleted_dataset_is_not_processed_again(dataset: Dataset) -> None:
    let_pass(minutes=61)
    delete_dataset(dataset)
    assert begin_scheduled_runs() == 0


def test_without_a_schedule_nothing_is_due(dataset: Dataset) -> None:
    set_schedule(dataset, Schedule())
    assert Source.objects.get().next_run_at is None
    assert begin_scheduled_runs() == 0


def test_a_time_of_day_is_that_of_the_site_whatever_the_clocks_do(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    berlin = ZoneInfo("Europe/Berlin")
    at_half_past_two = Schedule.parse(at="02:30")
    assert at_half_past_two.next_after(datetime(2026, 1, 5, 1, 0, tzinfo=UTC)) == datetime(
        2026, 1, 5, 1, 30, tzinfo=UTC
    )
    assert at_half_past_two.next_after(datetime(2026, 1, 5, 1, 30, tzinfo=UTC)) == datetime(
        2026, 1, 6, 2, 30, tzinfo=berlin
    )
    for changing in (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)):  # clocks go on, and back
        times = [changing]
        for _ in range(4):
            following = at_half_past_two.next_after(times[-1])
            assert following is not None
            times.append(following.astimezone(UTC))
        assert all(timedelta(hours=22) < b - a < timedelta(hours=26) for a, b in pairwise(times[1:]))


@pytest.mark.parametrize(
    "wrong",
    [{"every": "6"}, {"every": "1m"}, {"every": "9999d"}, {"every": "6 weeks"}, {"at": "25:00"}, {"at": "noon"}],
)
def test_what_cannot_be_read_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ScheduleRefused):
        Schedule.parse(**wrong)


def test_the_command_sets_and_ends_a_schedule(dataset: Dataset) -> None:
    def process(*options: str) -> Source:
        Run.objects.all().delete()
        call_command("process", Source.objects.get().folder, "--dataset", "cats", *options)
        return Source.objects.get()

    assert process("--every", "6h").every_minutes == 360
    assert process().every_minutes == 360  # it stays
    assert str(process("--at", "02:30").daily_at) == "02:30:00"
    assert process("--no-schedule").next_run_at is None
    with pytest.raises(CommandError, match="Write the interval as"):
        process("--every", "often")


def test_a_schedule_is_an_interval_or_a_time_and_has_a_next_run(dataset: Dataset) -> None:
    for wrong in ({"next_run_at": None}, {"daily_at": "02:30"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Source.objects.update(**wrong)


def test_a_worker_begins_what_is_due(dataset: Dataset, tmp_path: Path) -> None:
    let_pass(minutes=61)
    with worker(tmp_path / "log"):
        wait_until(lambda: Run.objects.filter(state="ready").exists(), seconds=60, what="nothing was processed")
    assert Run.objects.get().number == 1
