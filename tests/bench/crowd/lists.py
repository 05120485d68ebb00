"""What lists cost on a large site, over a small one, in processor time. The last line is one JSON object.

The small site has 100 datasets; the large one 100,000 with a run each, a million transitions and a million samples.
Five have failed on both.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import Any

REPEATS = 5
SMALL, LARGE = 100, int(os.environ.get("DATASETS", "100000"))
EACH = 10  # transitions and samples of a dataset
FAILED = 5
PAGES = [
    "/", "/?sort=name", "/?sort=state", "/?sort=created", "/?page=2", "/?state=ready", "/?state=attention",
    "/?state=new", "/?q=needle", "/?q=set", "/batches/", "/api/datasets", "/api/datasets?state=error",
]  # fmt: skip
ADMIN = [
    f"/admin/{name}/"
    for name in ("datasets/dataset", "datasets/sample", "progress/run", "progress/stage", "progress/transition")
]


def fill(first: int, last: int) -> None:
    """Make the datasets of these numbers, as they are when their runs have ended."""
    from datetime import timedelta

    from django.utils import timezone

    from apps.datasets.models import Dataset, Sample
    from apps.datasets.state_counts import add_up
    from apps.progress.models import Head, Run, Stage, Transition
    from apps.progress.transitions import STATE_ORDER

    def state_of(number: int) -> str:
        return "error" if number < FAILED else "ready"

    now = timezone.now()
    for numbers in batched(range(first, last), 2_000):
        datasets = Dataset.objects.bulk_create(
            [
                Dataset(
                    dataset_id=f"set-{n}",
                    visibility="public",
                    changed_at=now - timedelta(seconds=n),
                    state_order=STATE_ORDER.index(state_of(n)),
                    sample_count=EACH,
                )
                for n in numbers
            ]
        )
        runs = Run.objects.bulk_create(
            [
                Run(dataset=dataset, number=1, state=state_of(n), created_at=now, finished_at=now, updated_at=now)
                for dataset, n in zip(datasets, numbers, strict=True)
            ]
        )
        Head.objects.bulk_create([Head(dataset=run.dataset, run=run, version=1) for run in runs])
        Stage.objects.bulk_create([Stage(run=run, position=0, name="index", state="done") for run in runs])
        Transition.objects.bulk_create(
            [Transition(run=run, version=1, new="ready", at=now) for run in runs for _ in range(EACH)]
        )
        Sample.objects.bulk_create(
            [
                Sample(
                    dataset=dataset, path=f"{number}.jpg", size=1, mtime_ns=1, sha256="0" * 64, format="JPEG", width=1,
                    height=1, thumbnail_width=1, thumbnail_height=1, seen_in_run=1,
                )
                for dataset in datasets for number in range(EACH)
            ]
        )  # fmt: skip
        while add_up():  # as a worker does
            pass


def measured(client: Any, addresses: list[str]) -> Iterator[float]:
    """Yield what each address costs, in milliseconds of processor time: the median."""
    for address in addresses:
        took = []
        for _ in range(REPEATS + 1):
            began = time.process_time()
            assert client.get(address).status_code == 200, address
            took.append((time.process_time() - began) * 1000)
        yield statistics.median(took[1:])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-lists-") as folder:
        Path(folder, "static").mkdir()
        os.environ |= {
            "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "LOG_LEVEL": "ERROR", "ALLOWED_HOSTS": "testserver",
        }  # fmt: skip
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        from django.contrib.auth.models import User
        from django.test import Client

        visitor, admin = Client(), Client()
        admin.force_login(User.objects.create_superuser("admin"))
        times: list[tuple[list[float], list[float]]] = []
        for first, last in ((0, SMALL), (SMALL, LARGE)):
            fill(first, last)
            times.append((list(measured(visitor, PAGES)), list(measured(admin, ADMIN))))
        ratios = []
        for addresses, small, large in zip((PAGES, ADMIN), *times, strict=True):
            for address, few, many in zip(addresses, small, large, strict=True):
                print(f"{address:<32}{few:8.1f} ms{many:8.1f} ms{many / few:8.2f}")
            ratios.append(max(many / few for few, many in zip(small, large, strict=True)))
        print(json.dumps({"list_ratio_100k": round(ratios[0], 2), "admin_ratio_100k": round(ratios[1], 2)}))


if __name__ == "__main__":
    main()
