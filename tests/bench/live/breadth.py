"""Breadth: many datasets with a watcher each, and what the hub asks of the database meanwhile."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections
from rich.table import Table

from tests.bench.live.options import SECONDS, console
from tests.bench.live.servers import Site


def breadth(_: Site) -> dict[str, float]:
    """Count the queries of the hub with one watcher for each dataset, while every dataset changes all the time."""
    from django.db.backends.signals import connection_created

    queries = 0

    def counted(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal queries
        queries += threading.current_thread().name.startswith("hub_")
        return execute(sql, params, many, context)

    def watch_connection(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(counted)

    connection_created.connect(watch_connection)
    table = Table(title="Breadth: one watcher a dataset, all datasets changing")
    for name in ("datasets", "queries/s", "frames/s"):
        table.add_column(name, justify="right")
    rates = {}
    for count in (10, 2000):
        pks = _datasets(count)
        before = queries
        with ThreadPoolExecutor(1) as thread:
            frames = thread.submit(asyncio.run, _watch_all(pks)).result()
        rates[count] = (queries - before) / SECONDS
        table.add_row(f"{count:,}", f"{rates[count]:.1f}", f"{frames / SECONDS:,.0f}")
    connection_created.disconnect(watch_connection)
    console.print(table)
    return {"queries_per_s_10": round(rates[10], 1), "queries_per_s_2000": round(rates[2000], 1)}


def _datasets(count: int) -> list[int]:
    """Make datasets with a run under way; return their row ids."""
    from django.utils import timezone

    from apps.datasets.models import Dataset
    from apps.progress.models import Head, Run, Stage

    now = timezone.now()
    datasets = Dataset.objects.bulk_create(
        Dataset(dataset_id=f"broad-{count}-{number}", visibility="public") for number in range(count)
    )
    runs = Run.objects.bulk_create(
        Run(dataset=dataset, number=1, state="indexing", created_at=now, started_at=now, updated_at=now)
        for dataset in datasets
    )
    Stage.objects.bulk_create(
        Stage(run=run, position=0, name="index", state="active", total=100, planned=100, started_at=now) for run in runs
    )
    Head.objects.bulk_create(
        Head(dataset=dataset, version=1, run=run) for dataset, run in zip(datasets, runs, strict=True)
    )
    return [dataset.pk for dataset in datasets]


async def _watch_all(pks: list[int]) -> int:
    """Watch the datasets and change each ten times a second; return how many frames came."""
    from apps.live.hub import current_hub, notify_hubs
    from apps.live.rendering import Form
    from apps.live.watcher import Watcher
    from apps.progress.models import Head
    from apps.progress.signals import Change

    frames = 0

    async def send(message: dict[str, Any]) -> None:
        nonlocal frames
        frames += 1

    def on_drop(dataset_pk: int) -> None:
        raise AssertionError(f"dataset {dataset_pk} was dropped")

    hub = current_hub()
    watchers = {pk: Watcher(Form.JSON, send, on_drop) for pk in pks}
    for pk, watcher in watchers.items():
        hub.watch(pk, watcher)
    loop = asyncio.get_running_loop()
    end = loop.time() + SECONDS
    heads = Head.objects.filter(dataset__in=pks)

    def change(version: int) -> None:
        heads.update(version=version)
        for pk in pks:
            notify_hubs(Change(pk, version))

    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        version = 1
        while loop.time() < end:
            version += 1
            await loop.run_in_executor(writer, change, version)
            await asyncio.sleep(0.1)
        await loop.run_in_executor(writer, connections.close_all)
    for pk, watcher in watchers.items():
        hub.unwatch(pk, watcher)
    return frames
