"""Reports at a steady rate: ``database DATASET_PK RATE`` or ``socket URL RATE``.

Each report carries the moment at which it is written. Into the database it goes with the three statements of a batch
of reports, and is announced like any other. The verbs of `services` are measured by `bench-ingest`; a thousand of them
a second would leave the server no processor time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Report = Callable[[int], None]
PAYLOAD: dict[str, Any] = {
    "type": "progress_update",
    "payload": {
        "dataset_id": "bench", "state": "indexing", "current": 45, "total": 100, "message": "", "error": None,
        "updated_at": "2026-11-23T08:00:00.000Z", "version": 1, "epoch": "e1", "run": 1, "percent": 45.0,
        "stage": {"name": "index", "label": "", "counts_as": "indexing", "current": 45, "total": 100, "planned": 100,
                  "unit": "items"},
        "stages": [
            {
                "name": "index", "label": "", "counts_as": "indexing", "current": 45, "total": 100, "planned": 100,
                "unit": "items",
                "state": "active", "started_at": "2026-11-23T08:00:00.000Z", "finished_at": None,
            }
        ],
        "rate": 12.5, "eta_seconds": {"low": 4.0, "high": 6.0}, "health": "live", "paused": False, "cancelled": False,
        "failed": 0, "skipped": 0,
    },
}  # fmt: skip


@contextmanager
def into_database(dataset_pk: int) -> Iterator[Report]:
    import django

    django.setup()
    from django.db import connection, transaction

    from apps.progress.models import Head, Stage
    from apps.progress.signals import Change, progress_changed

    head = Head.objects.get(dataset=dataset_pk)
    stage = Stage.objects.get(run=head.run_id)

    before = head.version  # an earlier reporter's, whose watchers may still be there

    def report(number: int) -> None:
        version = before + number
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE progress_head SET version = %s WHERE dataset_id = %s", [version, dataset_pk])
            cursor.execute("UPDATE progress_stage SET current = %s WHERE id = %s", [version, stage.pk])
            cursor.execute(
                "UPDATE progress_run SET message = %s WHERE id = %s", [str(time.monotonic_ns()), head.run_id]
            )
        progress_changed.send(Head, change=Change(dataset_pk, version))

    yield report


@contextmanager
def into_socket(url: str) -> Iterator[Report]:
    from websockets.sync.client import connect

    payload: dict[str, Any] = PAYLOAD["payload"]
    with connect(url) as connection:

        def report(number: int) -> None:
            payload["message"] = str(time.monotonic_ns())
            connection.send(json.dumps(PAYLOAD, separators=(",", ":")))

        yield report


def main() -> None:
    where, target, rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with into_database(int(target)) if where == "database" else into_socket(target) as report:
        print("ready", flush=True)
        number = 0
        began = time.monotonic()
        while os.getppid() != 1:
            number += 1
            report(number)
            ahead = began + number / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -1:  # the rate is too high: do not catch up in a burst
                began -= ahead


if __name__ == "__main__":
    main()
