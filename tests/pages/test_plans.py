"""No list reads a large table from end to end: each is served by an index, or stops at a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.datasets.models import Dataset, EmbeddingBlock, Sample
from apps.notifications.models import Delivery, Event, Subscription
from apps.pipeline.models import Chunk, Job, Source
from apps.progress import services
from apps.progress.models import Run, RunMember, RunMessage, UnlistedFailures, WorkerShare

# Tables that grow with the site.
LARGE = (
    "datasets_dataset", "datasets_sample", "datasets_embeddingblock", "progress_head", "progress_run",
    "progress_stage", "progress_transition", "progress_itemfailure", "progress_unlistedfailures",
    "progress_workershare", "progress_runmember", "progress_runmessage", "pipeline_source", "pipeline_job",
    "pipeline_chunk", "notifications_event", "notifications_delivery",
)  # fmt: skip

PAGES = [
    "/", "/?sort=name", "/?sort=state", "/?sort=created", "/?page=3",
    *(f"/?state={state}" for state in ("pending", "indexing", "ready")), "/?q=set-1",
    "/api/datasets", "/api/datasets?state=ready", "/datasets/set-1/", "/api/datasets/set-1/runs",
]  # fmt: skip
ADMIN = [
    f"/admin/{name}/"
    for name in (
        "datasets/dataset", "datasets/sample", "datasets/embeddingblock", "progress/run", "progress/stage",
        "progress/transition", "progress/itemfailure", "progress/head", "progress/unlistedfailures",
        "progress/workershare", "progress/runmember", "progress/runmessage", "pipeline/source", "pipeline/job",
        "pipeline/chunk", "notifications/event", "notifications/delivery",
    )
]  # fmt: skip


@contextmanager
def recorded() -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements of a block with their parameters."""
    statements: list[tuple[str, Any]] = []

    def record(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(record):
        yield statements


def plan_of(sql: str, params: Any) -> list[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            return [str(row[3]) for row in cursor.fetchall()]
        # Tables of a test are small enough to be scanned and sorted. Without that, it is left where there is no index.
        for what in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
            cursor.execute(f"SET LOCAL enable_{what} = off")
        cursor.execute(f"EXPLAIN {sql}", params)
        return [str(row[0]) for row in cursor.fetchall()]


def scanned(sql: str, plan: list[str]) -> list[str]:
    """Return the lines of a plan that read a large table from end to end.

    A walk in the order of the key that stops at a limit is none; SQLite calls it a scan.
    """
    if "LIMIT" in sql and not any("TEMP B-TREE" in line or "Sort" in line for line in plan):
        return []
    sqlite = [line for line in plan if line.startswith("SCAN ") and " USING " not in line]
    postgresql = [line for line in plan if "Seq Scan on " in line]
    return [line for line in sqlite + postgresql if any(table in line for table in LARGE)]


@pytest.fixture
def site(db: None) -> None:
    for number in range(1, 61):
        dataset = Dataset.objects.create(dataset_id=f"set-{number}", visibility="public")
        if number % 3:
            run = services.begin_run(dataset, [services.StagePlan("index", total=10)])
            services.start_stage(run.pk, "index")
            if number % 3 == 1:
                services.finish(run.pk)
    for path in ("a.jpg", "b.jpg"):
        block = EmbeddingBlock.objects.create(dataset=dataset, embedder="e", dimensions=1, sample_ids=b"", vectors=b"")
        Sample.objects.create(
            dataset=dataset, path=path, size=1, mtime_ns=1, sha256="0" * 64, format="JPEG", width=1, height=1,
            thumbnail_width=1, thumbnail_height=1, seen_in_run=1, embedding_block=block,
        )  # fmt: skip
    runs = Run.objects.unfinished()[:2]
    services.record_failures(runs[0].pk, "index", [("a", "broken"), ("b", "broken")])
    _fill_small_tables(runs[0], runs[1])
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def _fill_small_tables(run: Run, other: Run) -> None:
    """Make two rows of each table that a list of the admin shows, so that one page does not hold them all."""
    stage, now = run.stages.get(), timezone.now()
    for number, each in enumerate((run, other)):
        WorkerShare.objects.create(stage=stage, worker=str(number))
        RunMember.objects.create(run=run, worker=str(number), joined_at=now, heard_at=now)
        RunMessage.objects.create(run=run, slot=number, number=number, text="half", at=now)
        UnlistedFailures.objects.create(run=run, stage="index", reason=str(number), count=1)
        Source.objects.create(dataset=each.dataset, folder="/images")
        Job.objects.create(run=each)
        Chunk.objects.create(job_id=run.pk, phase="index", position=number, items=[], size=1)
        event = Event.objects.create(dataset=each.dataset, run=1, kind="ready", version=1, at=now, progress={})
        subscription = Subscription.objects.create(name=str(number))
        Delivery.objects.create(subscription=subscription, event=event, next_at=now)


@pytest.mark.parametrize("address", [*PAGES, *ADMIN])
def test_a_list_reads_no_large_table_from_end_to_end(
    site: None, client: Client, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(ModelAdmin, "list_per_page", 1)  # what fits on one page is read without a limit
    if address in ADMIN:
        client.force_login(User.objects.create_superuser("admin"))
    with recorded() as statements:
        assert client.get(address).status_code == 200
    for sql, params in statements:
        if sql.startswith("SELECT"):
            assert not scanned(sql, plan := plan_of(sql, params)), (sql, plan)


@pytest.mark.parametrize("sort", ["updated", "name", "state", "created"])
def test_the_list_is_sorted_by_an_index(site: None, client: Client, sort: str) -> None:
    with recorded() as statements:
        client.get("/", {"sort": sort})
    (sql, params), *_ = [one for one in statements if "OFFSET" in one[0] or "LIMIT 50" in one[0]]
    plan = plan_of(sql, params)
    assert not any("TEMP B-TREE" in line or "Sort" in line for line in plan), (sql, plan)
