"""What each part of `apps.core.sql` is worth: ``python -m tests.bench.raw_sql``.

Reports and reads with our SQL, and with the ORM in place of one part at a time. The variants take turns in one process
on SQLite, so that a busy machine slows all of them alike; medians of processor time.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

REPORTS = 400
BATCHES = 12
BATCH = 1000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ |= {
            "DATA_DIR": folder, "SECRET_KEY": "bench", "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{folder}/progress.sqlite3",
        }  # fmt: skip
        import django

        django.setup()
        _measure()


def _measure() -> None:
    from django.contrib.auth.models import AnonymousUser
    from django.core.management import call_command

    from apps.core.sql import Update
    from apps.datasets.access.rules import Caller
    from apps.datasets.models import Dataset
    from apps.progress import selectors
    from apps.progress.reports import Report, accept_reports
    from apps.progress.transitions import State

    call_command("migrate", verbosity=0)
    datasets = [Dataset.objects.create(dataset_id=f"d{number}", visibility="public") for number in range(BATCH)]
    counts = iter(range(10**9))

    def report() -> Report:
        return Report(state=State.INDEXING, current=next(counts), total=10**9, message="Indexing samples...")

    def single() -> None:
        accept_reports([(datasets[0].pk, report())])

    def batch() -> None:
        accept_reports([(dataset.pk, report()) for dataset in datasets])

    def orm_rows_in(model: Any, column: str, values: Any, *, order: str = "", lock: bool = False) -> list[Any]:
        rows = model.objects.filter(**{f"{column}__in": list(values)})
        if order:
            rows = rows.order_by(*order.split(", "))
        return list(rows.select_for_update() if lock else rows)

    def one_by_one(updates: Iterable[Update]) -> bool:
        for update in updates:
            for row, was in zip(update.rows, update.was, strict=True):
                values = {name: getattr(row, name) for name in update.names}
                type(row)._default_manager.filter(pk=row.pk, **{update.guard: was}).update(**values)
        return True

    def bulk(updates: Iterable[Update]) -> bool:
        for update in updates:
            type(update.rows[0])._default_manager.bulk_update(update.rows, list(update.names))
        return True

    batch()
    rows_in = patch("apps.progress.store.rows_in", orm_rows_in)
    write_one_by_one = patch("apps.progress.store.write_rows", one_by_one)
    write_bulk = patch("apps.progress.store.write_rows", bulk)
    variants: dict[str, list[Any]] = {
        "our SQL": [],
        "filter() for rows_in": [rows_in],
        "update() for write_rows": [write_one_by_one],
        "bulk_update() for write_rows": [write_bulk],
    }
    _compare("one report", single, REPORTS, variants)
    _compare(f"{BATCH} reports, each", batch, BATCHES, variants, per=BATCH)

    caller = Caller(AnonymousUser())

    def orm_facts_for() -> None:
        rows: Any = caller.visible(selectors._with_progress()).filter(dataset_id="d0")
        list(selectors._facts(rows))

    def orm_facts_of() -> None:
        rows: Any = selectors._with_progress().filter(pk=datasets[0].pk)
        list(selectors._facts(rows))

    _alternate("one poll", {"Statement": lambda: selectors.facts_for(caller, "d0"), "ORM": orm_facts_for}, REPORTS)
    _alternate(
        "one read of a hub", {"Statement": lambda: selectors.facts_of([datasets[0].pk]), "ORM": orm_facts_of}, REPORTS
    )


def _compare(name: str, work: Callable[[], object], times: int, variants: dict[str, list[Any]], per: int = 1) -> None:
    def run(patches: list[Any]) -> Callable[[], object]:
        def patched() -> None:
            with ExitStack() as stack:
                for one in patches:
                    stack.enter_context(one)
                work()

        return patched

    _alternate(name, {label: run(patches) for label, patches in variants.items()}, times, per)


def _alternate(name: str, variants: dict[str, Callable[[], object]], times: int, per: int = 1) -> None:
    taken: dict[str, list[float]] = {label: [] for label in variants}
    for _ in range(times):
        for label, work in variants.items():
            before = time.process_time()
            work()
            taken[label].append((time.process_time() - before) / per)
    first = statistics.median(next(iter(taken.values())))
    for label, seconds in taken.items():
        median = statistics.median(seconds)
        print(f"{name:24} {label:30} {median * 1e6:8.0f} us   {median / first:.2f}")


if __name__ == "__main__":
    main()
