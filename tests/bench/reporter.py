"""Reports at a steady rate: ``database DATASET_PK RATE`` or ``socket URL RATE``.

Each report carries the moment at which it is written. Into the database it goes with the three statements that a batch
of reports comes down to, and rings like any other: the verbs themselves are measured elsewhere, and at a thousand a
second they would leave the server no processor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

PAYLOAD = {
    "type": "progress_update",
    "payload": {
        "dataset_id": "bench", "state": "indexing", "current": 45, "total": 100, "message": "", "error": None,
        "updated_at": "2026-11-23T08:00:00.000Z", "version": 1, "run": 1, "percent": 45.0,
        "stage": {"name": "index", "label": "", "counts_as": "indexing", "current": 45, "total": 100, "unit": "items"},
        "stages": [
            {
                "name": "index", "label": "", "counts_as": "indexing", "current": 45, "total": 100, "unit": "items",
                "state": "active", "started_at": "2026-11-23T08:00:00.000Z", "finished_at": None,
            }
        ],
        "rate": 12.5, "eta_seconds": {"low": 4.0, "high": 6.0}, "health": "live", "paused": False, "cancelled": False,
        "failed": 0, "skipped": 0,
    },
}  # fmt: skip


def into_database(dataset_pk: int) -> Callable[[int], None]:
    import django

    django.setup()
    from django.db import connection, transaction

    from apps.progress.models import Head, Stage
    from apps.progress.signals import Change, progress_changed

    head = Head.objects.get(dataset=dataset_pk)
    stage = Stage.objects.get(run=head.run_id)

    def report(number: int) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE progress_head SET version = %s WHERE dataset_id = %s", [number, dataset_pk])
            cursor.execute("UPDATE progress_stage SET current = %s WHERE id = %s", [number, stage.pk])
            cursor.execute(
                "UPDATE progress_run SET message = %s WHERE id = %s", [str(time.monotonic_ns()), head.run_id]
            )
        progress_changed.send(Head, change=Change(dataset_pk, number))

    return report


def into_socket(url: str) -> Callable[[int], None]:
    from websockets.sync.client import connect

    connection = connect(url)

    def report(number: int) -> None:
        PAYLOAD["payload"]["message"] = str(time.monotonic_ns())  # type: ignore[index]
        connection.send(json.dumps(PAYLOAD, separators=(",", ":")))

    return report


def main() -> None:
    where, target, rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
    report = into_database(int(target)) if where == "database" else into_socket(target)
    number = 1_000_000
    print("ready", flush=True)
    began = time.monotonic()
    while os.getppid() != 1:
        report(number)
        number += 1
        behind = began + (number - 1_000_000) / rate - time.monotonic()
        if behind > 0:
            time.sleep(behind)
        elif behind < -1:  # it cannot be kept up: do not make up for it in a burst
            began -= behind


if __name__ == "__main__":
    main()
