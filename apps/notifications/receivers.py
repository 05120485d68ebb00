"""Write what happens to runs, in the transaction in which it happens."""

from __future__ import annotations

import json

from django.dispatch import receiver

from apps.datasets.models import Dataset
from apps.progress.events import RunEvent
from apps.progress.signals import runs_moved

from .models import Event


@receiver(runs_moved, dispatch_uid="notifications")
def write_events(events: list[RunEvent], **kwargs: object) -> None:
    """Write an `Event` for each event. Two queries, however many there are."""
    pks = {event.dataset_pk for event in events}
    names = dict(Dataset.with_deleted.filter(pk__in=pks).values_list("pk", "dataset_id"))
    Event.objects.bulk_create(
        Event(
            dataset_id=event.dataset_pk, run=event.run.number, kind=event.kind, version=event.version,
            epoch=progress.epoch, at=event.at, failed_percent=event.failed_percent,
            progress=json.loads(progress.model_dump_json()),
        )
        for event in events
        for progress in [event.progress(names[event.dataset_pk])]
    )  # fmt: skip
