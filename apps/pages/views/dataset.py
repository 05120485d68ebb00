"""The page of a dataset: its live panel, and what one of its tabs shows. And the workers that unfold in it."""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.batches.selectors import batches_of
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.pages import words
from apps.pages.access import visible_dataset
from apps.pages.cursor import requested_page
from apps.pages.failures import REASON_PARAMETER, SEARCH_PARAMETER, count_reasons, failures_query, matching
from apps.pages.gallery import gallery_page
from apps.pages.panel import phase
from apps.pages.snippets import address_of, snippets
from apps.pages.tabs import Tab, chosen_tab, links
from apps.pages.workers import workers_at_work
from apps.pipeline.images.selection import describe
from apps.pipeline.models import Source
from apps.pipeline.schedules import Schedule
from apps.pipeline.services import source_of
from apps.progress.models import Run, UnlistedFailures
from apps.progress.selectors import failure_note, progress_of
from apps.progress.transitions import State

FAILURES_SIZE: Final = 20
RUNS_SIZE: Final = 20
# More runs than these are not counted.
MOST_RUNS: Final = 1_000


@require_safe
def detail(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Show a dataset: its live panel, controls, and one of: samples, failed items, runs, code that reports."""
    dataset = visible_dataset(request, dataset_id)
    progress = progress_of(dataset.pk)
    runs = list(Run.objects.filter(dataset=dataset).order_by("-number")[: RUNS_SIZE + 1])
    latest = runs[0] if runs else None
    caller = Caller(request.user)
    may_steer = caller.may_steer(dataset)
    source = source_of(dataset)
    samples = _samples(dataset, source)
    figures = _figures(dataset, latest, samples)
    tab = chosen_tab(request.GET, figures)
    context = {
        "dataset": dataset,
        "batches": batches_of(dataset.pk),
        "progress": progress,
        "phase": phase(progress),
        "latest": latest,
        "last_ready": next((run for run in runs[1:] if run.state == State.READY), None),
        "may_steer": may_steer,
        "may_manage": caller.may_manage(dataset),
        "failure_note": failure_note(latest) if may_steer and latest and latest.error else "",
        "has_source": source is not None,
        "schedule": words.schedule(Schedule.of(source)) if source else "",
        "next_run_at": source.next_run_at if source else None,
        "tabs": links(figures, tab),
        "tab": tab,
        **samples,
    }
    match tab:
        case Tab.SAMPLES:
            context |= _samples_tab(request, dataset)
        case Tab.FAILURES if latest is not None:
            context |= _failures_tab(request, latest)
        case Tab.RUNS:
            context |= _runs_tab(request, dataset)
        case Tab.CODE:
            context["snippets"] = snippets(address_of(request), dataset_id)
    return render(request, "pages/dataset.html", context)


def _samples(dataset: Dataset, source: Source | None) -> dict[str, Any]:
    return {
        "sample_count": dataset.count_samples(),
        "missing_count": dataset.missing_samples().count(),
        "not_looked_at": describe(dataset.file_counts),
        "has_patterns": source is not None and bool(source.include or source.exclude),
    }


def _figures(dataset: Dataset, latest: Run | None, samples: dict[str, Any]) -> dict[Tab, str]:
    """Return the tabs that have something to show, with how many things: zeros are hidden."""
    figures = {}
    if samples["sample_count"] or samples["missing_count"] or samples["not_looked_at"]:
        figures[Tab.SAMPLES] = _figure(samples["sample_count"])
    if latest is not None and latest.failed:
        figures[Tab.FAILURES] = _figure(latest.failed)
    if latest is not None:
        count = Run.objects.filter(dataset=dataset)[: MOST_RUNS + 1].count()
        figures[Tab.RUNS] = _figure(count) if count <= MOST_RUNS else f"{MOST_RUNS:,}+"
    figures[Tab.CODE] = ""
    return figures


def _figure(count: int) -> str:
    return f"{count:,}" if count else ""


def _samples_tab(request: HttpRequest, dataset: Dataset) -> dict[str, Any]:
    is_damaged = "damaged" in request.GET
    return {
        "samples": gallery_page(dataset, request.GET),
        "samples_keep": "tab=samples&damaged&" if is_damaged else "tab=samples&",
        "damaged_only": is_damaged,
        "damaged_count": _figure(dataset.file_counts.get("damaged", 0)),
        "copies": _figure(dataset.file_counts.get("copies", 0)),
    }


def _failures_tab(request: HttpRequest, latest: Run) -> dict[str, Any]:
    reason, search = (
        request.GET.get(name, "").replace("\0", "").strip() for name in (REASON_PARAMETER, SEARCH_PARAMETER)
    )
    has_unlisted = latest.failed > latest.failures_listed
    unlisted = list(UnlistedFailures.objects.filter(run=latest)) if has_unlisted else []
    return {
        "failures": requested_page(matching(latest, reason, search), FAILURES_SIZE, request.GET, "failures_"),
        "failures_keep": f"{failures_query(reason, search)}&",
        "reason": reason,
        "search": search,
        "reasons": count_reasons(latest, unlisted),
        "unlisted": [] if reason or search else unlisted,
    }


def _runs_tab(request: HttpRequest, dataset: Dataset) -> dict[str, Any]:
    runs = Run.objects.filter(dataset=dataset).order_by("-number")
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 10:
        runs = runs.filter(number__lt=int(before))
    page = list(runs[: RUNS_SIZE + 1])
    return {"runs": page[:RUNS_SIZE], "older": page[RUNS_SIZE - 1].number if page[RUNS_SIZE:] else None}


@require_safe
def workers(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Answer with the workers of the run under way, the silent ones first."""
    dataset = visible_dataset(request, dataset_id)
    run = Run.objects.filter(dataset=dataset).order_by("-number").first()
    if run is None:
        raise Http404
    context = {"dataset": dataset, "run": run, "workers": workers_at_work(run, timezone.now())}
    response = render(request, "components/workers.html", context)
    response.headers["Cache-Control"] = "no-store"
    return response
