"""What the start page of the admin says needs attention. A constant number of queries, and a few rows of each kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.urls import reverse

from apps.datasets.models import Dataset
from apps.notifications.models import Delivery
from apps.pipeline.models import Job
from apps.progress.control import OBEY_WITHIN, requested
from apps.progress.health import Health
from apps.progress.models import Run
from apps.progress.selectors import health_of_newest, in_state
from apps.progress.transitions import UNFINISHED, State

SHOWN: Final = 5
# A queued run that waits longer for a worker may wait for one that is not started.
WAITS_LONG: Final = timedelta(minutes=1)
RECENT: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a kind. ``address``: of the page where something is done about it."""

    name: str
    address: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Concern:
    """A kind of things that need attention. ``address``: of the list of all of them."""

    title: str
    items: list[Item]
    address: str


def concerns(now: datetime) -> list[Concern]:
    """Return what needs attention, and nothing where nothing does."""
    assessed = health_of_newest(now)
    datasets, runs = reverse("admin:datasets_dataset_changelist"), reverse("admin:progress_run_changelist")
    deliveries = reverse("admin:notifications_delivery_changelist")
    found = [
        Concern("Failed", _failed(), f"{datasets}?state=error"),
        *(
            Concern(title, _of(run for run, health in assessed if health == word), f"{datasets}?health={word}")
            for title, word in (("No contact", Health.LOST), ("No progress", Health.STALLED))
        ),
        Concern("Asked to stop, and does not obey", _disobeying(now), f"{runs}?control__exact=cancel"),
        Concern("Waits for a worker: is one running?", _waiting(now), f"{runs}?state__exact=pending"),
        Concern("Notifications that could not be delivered", _undelivered(now), f"{deliveries}?state__exact=failed"),
    ]
    return [concern for concern in found if concern.items]


def _failed() -> list[Item]:
    datasets = in_state(Dataset.objects.all(), State.ERROR).filter(head__run__cancelled=False)
    latest = datasets.select_related("head__run").order_by("-changed_at", "-pk")[:SHOWN]
    return [
        Item(str(dataset), dataset.get_absolute_url(), dataset.head.run.error.strip().partition("\n")[0])
        for dataset in latest
        if dataset.head.run
    ]


def _of(runs: Iterable[Run]) -> list[Item]:
    return [Item(str(run.dataset), run.dataset.get_absolute_url()) for run, _ in zip(runs, range(SHOWN), strict=False)]


def _disobeying(now: datetime) -> list[Item]:
    asked = Run.objects.filter(
        state__in=UNFINISHED, control__in=[Run.Control.PAUSE, Run.Control.CANCEL], control_at__lt=now - OBEY_WITHIN,
        dataset__deleted_at=None,
    )  # fmt: skip
    newest = asked.select_related("dataset").order_by("-pk")[: 10 * SHOWN]
    return _of(run for run in newest if requested(run) in ("pause", "cancel"))


def _waiting(now: datetime) -> list[Item]:
    queued = Job.objects.filter(
        lease_token="", run__state=State.PENDING, run__control=Run.Control.RUN, run__created_at__lt=now - WAITS_LONG,
        run__dataset__deleted_at=None,
    )  # fmt: skip
    return _of(job.run for job in queued.select_related("run__dataset").order_by("-pk")[:SHOWN])


def _undelivered(now: datetime) -> list[Item]:
    failed = Delivery.objects.filter(state=Delivery.State.UNDELIVERED, created_at__gt=now - RECENT)
    newest = failed.select_related("subscription", "event__dataset").order_by("-pk")[:SHOWN]
    return [
        Item(str(one.subscription), reverse("admin:notifications_delivery_change", args=[one.pk]), one.reason)
        for one in newest
    ]
