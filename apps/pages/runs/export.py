"""All of a run as JSON or CSV: its stages with their readings, its workers, events and failures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse, JsonResponse

from apps.progress.models import ItemFailure, Run, Stage, UnlistedFailures, WorkerShare

from .page import page_of

COLUMNS: Final = ("kind", "at", "stage", "name", "count", "total", "text")
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def as_json(run: Run, now: datetime, *, may_steer: bool) -> HttpResponse:
    """Return the run as JSON, to be saved. Those who may steer the dataset get who began it and where too."""
    page = page_of(run, now, may_steer=may_steer)
    who = {"started_by": run.started_by, "origin": run.origin, "link": run.link} if may_steer else {}
    content: dict[str, Any] = {
        "dataset_id": run.dataset.dataset_id, "run": run.number, "result": page.result.lower(), "state": run.state,
        "cancelled": run.cancelled, "message": run.message, "error": run.error or None, "percent": run.percent,
        "failed": run.failed, "skipped": run.skipped, "created_at": run.created_at, "started_at": run.started_at,
        "finished_at": run.finished_at, **who,
        "stages": list(
            Stage.objects.filter(run=run).order_by("position").values(
                "name", "label", "counts_as", "unit", "weight", "state", "current", "total", "planned", "started_at",
                "finished_at", "readings",
            )
        ),
        "workers": list(
            WorkerShare.objects.filter(stage__run=run).values(
                "worker", "stage__name", "current", "total", "failed", "skipped"
            )
        ),
        "events": [{"at": event.at, "text": event.text} for event in page.events],
        "messages": [{"at": event.at, "text": event.text} for event in page.messages],
        "failures": list(ItemFailure.objects.filter(run=run).values("item", "reason", "stage", "at")),
        "unlisted_failures": list(UnlistedFailures.objects.filter(run=run).values("stage", "reason", "count")),
    }  # fmt: skip
    response = JsonResponse(content, encoder=DjangoJSONEncoder, json_dumps_params={"ensure_ascii": False})
    return _attached(response, run, "json")


def as_csv(run: Run, now: datetime, *, may_steer: bool) -> HttpResponse:
    """Return the run as CSV, to be saved: a row for each stage, reading, worker, event and failure. See `COLUMNS`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in row] for row in _rows(run, now, may_steer))
    return _attached(HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8"), run, "csv")


def _rows(run: Run, now: datetime, may_steer: bool) -> Iterator[tuple[object, ...]]:
    page = page_of(run, now, may_steer=may_steer)
    yield "run", run.created_at, "", run.number, run.failed, "", page.result
    for stage in Stage.objects.filter(run=run).order_by("position"):
        yield "stage", stage.started_at, stage.name, stage.label, stage.current, stage.planned, stage.state
        for seconds, done in stage.readings:
            yield "reading", "", stage.name, seconds, done, "", stage.unit
    for share in WorkerShare.objects.filter(stage__run=run).select_related("stage"):
        yield "worker", "", share.stage.name, share.worker, share.current, share.total, f"{share.failed} failed"
    for event in page.events:
        yield "event", event.at, "", "", "", "", event.text
    for event in page.messages:
        yield "message", event.at, "", "", "", "", event.text
    for failure in ItemFailure.objects.filter(run=run):
        yield "failure", failure.at, failure.stage, failure.item, 1, "", failure.reason
    for unlisted in UnlistedFailures.objects.filter(run=run):
        yield "failure", "", unlisted.stage, "", unlisted.count, "", unlisted.reason


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _attached(response: HttpResponse, run: Run, kind: str) -> HttpResponse:
    response["Content-Disposition"] = f'attachment; filename="{run.dataset.dataset_id}-run-{run.number}.{kind}"'
    return response
