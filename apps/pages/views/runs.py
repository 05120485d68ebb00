"""The page of one run, and its export."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.datasets.access.rules import Caller
from apps.pages.access import visible_dataset
from apps.pages.cursor import requested_page
from apps.pages.panel import phase
from apps.pages.runs.export import as_csv, as_json
from apps.pages.runs.page import page_of
from apps.progress.models import ItemFailure, Run, UnlistedFailures
from apps.progress.selectors import progress_of

FAILURES_SIZE: Final = 50


def _run(request: HttpRequest, dataset_id: str, number: int) -> tuple[Run, bool]:
    """Return a run that the user may see, and whether the user may steer its dataset. Raises `Http404`."""
    dataset = visible_dataset(request, dataset_id)
    run = Run.objects.filter(dataset=dataset, number=number).first()
    if run is None:
        raise Http404
    run.dataset = dataset
    return run, Caller(request.user).may_steer(dataset)


@require_safe
def detail(request: HttpRequest, dataset_id: str, number: int) -> HttpResponse:
    """Show a run: result, throughput, stages in time, workers, events, failures, and the runs before it."""
    run, may_steer = _run(request, dataset_id, number)
    progress = progress_of(run.dataset_id)
    context = {
        "dataset": run.dataset,
        "run": run,
        "page": page_of(run, timezone.now(), may_steer=may_steer),
        "progress": progress,
        "phase": phase(progress),
        "is_open": not run.is_finished and progress.run == run.number,
        "may_steer": may_steer,
        "failures": requested_page(ItemFailure.objects.filter(run=run), FAILURES_SIZE, request.GET, "failures_"),
        "unlisted": list(UnlistedFailures.objects.filter(run=run)),
        "details_days": settings.KEEP_DETAILS_DAYS,
    }
    return render(request, "pages/run.html", context)


@require_safe
def export(request: HttpRequest, dataset_id: str, number: int, kind: str) -> HttpResponse:
    """Return all of a run as a file. ``kind``: json or csv."""
    run, may_steer = _run(request, dataset_id, number)
    write = {"json": as_json, "csv": as_csv}.get(kind)
    if write is None:
        raise Http404
    return write(run, timezone.now(), may_steer=may_steer)
