"""When folders are processed again by themselves. Any number of workers look; what is due is begun or skipped once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.progress import services as progress
from apps.progress.errors import RunUnfinished
from apps.progress.origin import Origin

from .models import Job, Source
from .queue import enqueue
from .stages import STAGES

# Who begins a run that was due, as its page says.
BY: Final = "the schedule"
AT_ONCE: Final = 100
SHORTEST: Final = timedelta(minutes=5)
LONGEST: Final = timedelta(days=366)

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


class ScheduleRefused(ValueError):
    """It cannot be read, or is out of its bounds."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every so often, or at a time of day in the site's time zone; neither: never. Raises `ScheduleRefused`."""

    every: timedelta | None = None
    daily_at: time | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.daily_at is not None:
            raise ScheduleRefused("Choose an interval or a time of day.")
        if self.every is not None and not SHORTEST <= self.every <= LONGEST:
            raise ScheduleRefused("The interval is from 5 minutes to 366 days.")

    @classmethod
    def parse(cls, *, every: str = "", at: str = "") -> Schedule:
        """Read ``6h``, ``30m`` or ``2d``, or a time of day such as ``02:30``. Raises `ScheduleRefused`."""
        found = re.fullmatch(r"(\d{1,6})([mhd])", every.strip())
        if every and found is None:
            raise ScheduleRefused("Write the interval as 30m, 6h or 2d.")
        try:
            daily_at = time.fromisoformat(at.strip()) if at else None
        except ValueError:
            daily_at = None
        if at and (daily_at is None or daily_at.tzinfo is not None):
            raise ScheduleRefused("Write the time as 02:30.")
        return cls(timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None, daily_at)

    @classmethod
    def of(cls, source: Source) -> Schedule:
        every = source.every_minutes
        return cls(None if every is None else timedelta(minutes=every), source.daily_at)

    def next_after(self, now: datetime, planned: datetime | None = None) -> datetime | None:
        """Return the first time after ``now``; None: never. An interval counts from ``planned``, else from now."""
        if self.every is not None:
            since = now if planned is None else planned
            return since + max((now - since) // self.every + 1, 1) * self.every
        if self.daily_at is None:
            return None
        zone = timezone.get_default_timezone()
        today = now.astimezone(zone).date()
        days = (datetime.combine(today + timedelta(days=ahead), self.daily_at, tzinfo=zone) for ahead in range(3))
        return next(day for day in days if day.timestamp() > now.timestamp())


def set_schedule(dataset: Dataset, schedule: Schedule) -> None:
    """Process the dataset's folder by this schedule from now on."""
    minutes = None if schedule.every is None else round(schedule.every.total_seconds() / 60)
    Source.objects.filter(dataset=dataset).update(
        every_minutes=minutes, daily_at=schedule.daily_at, next_run_at=schedule.next_after(timezone.now())
    )


def begin_scheduled_runs() -> int:
    """Begin and queue the runs that are due. Returns how many. While a run goes on, its dataset's next one is skipped.

    After an outage, what was due in the meantime is done once.
    """
    due = Source.objects.filter(next_run_at__lte=timezone.now(), dataset__deleted_at=None)
    return sum(_begin(source) for source in due.select_related("dataset").order_by("next_run_at")[:AT_ONCE])


def _begin(source: Source) -> bool:
    """Begin the run that is due of a folder, unless another worker has done so."""
    planned, now = source.next_run_at, timezone.now()
    with transaction.atomic():
        unchanged = Source.objects.filter(pk=source.pk, next_run_at=planned)
        if not unchanged.update(next_run_at=Schedule.of(source).next_after(now, planned)):
            return False
        try:
            run = progress.begin_run(source.dataset, STAGES, origin=Origin(by=BY))
        except RunUnfinished:
            progress.note_skip(source.dataset_id, f"scheduled for {timezone.localtime(planned):%-d %b, %H:%M}")
            return False
        enqueue(Job.objects.create(run=run))
    return True
