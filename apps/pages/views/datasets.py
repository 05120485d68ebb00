"""The list of datasets, the page of one, and the form of a new one."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.batches.selectors import batches_of
from apps.datasets.access.errors import NotAllowed
from apps.datasets.access.rules import Caller
from apps.pages import words
from apps.pages.access import visible_dataset
from apps.pages.cursor import requested_page
from apps.pages.failures import REASON_PARAMETER, count_reasons, reason_query
from apps.pages.forms import NewDatasetForm
from apps.pages.gallery import count_samples, gallery_page
from apps.pages.listing import SORTS, ListQuery, list_datasets
from apps.pages.panel import phase
from apps.pages.snippets import address_of, snippets
from apps.pipeline.images.folders import FolderRefused
from apps.pipeline.images.selection import describe
from apps.pipeline.schedules import Schedule
from apps.pipeline.services import create_dataset, source_of
from apps.progress.models import ItemFailure, Run, Transition, UnlistedFailures
from apps.progress.selectors import failure_note, progress_of
from apps.progress.transitions import State

FAILURES_SIZE: Final = 20
HISTORY_SIZE: Final = 20


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the list; only its rows where htmx asks."""
    query = ListQuery.parse(request.GET)
    listing = list_datasets(request.user, query, request.GET.get("page"))
    template = "pages/datasets.html#rows" if request.headers.get("HX-Request") else "pages/datasets.html"
    context = {"listing": listing, "query": query, "sorts": SORTS}
    response = render(request, template, context)
    response.headers["Vary"] = "HX-Request, Cookie"
    return response


@require_safe
def detail(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Show a dataset: its live panel, controls, samples, failed items and history."""
    dataset = visible_dataset(request, dataset_id)
    progress = progress_of(dataset.pk)
    runs = list(Run.objects.filter(dataset=dataset).order_by("-number")[:HISTORY_SIZE])
    latest = runs[0] if runs else None
    caller = Caller(request.user)
    may_steer = caller.may_steer(dataset)
    source = source_of(dataset)
    sample_count, missing_count = count_samples(dataset)
    reason = request.GET.get(REASON_PARAMETER, "").replace("\0", "")
    failures = ItemFailure.objects.filter(run=latest)
    if reason:
        failures = failures.filter(reason=reason)
    unlisted = list(UnlistedFailures.objects.filter(run=latest)) if _has_unlisted(latest) else []
    context = {
        "dataset": dataset,
        "batches": batches_of(dataset.pk),
        "progress": progress,
        "phase": phase(progress),
        "runs": runs,
        "latest": latest,
        "last_ready": next((run for run in runs[1:] if run.state == State.READY), None),
        "may_steer": may_steer,
        "may_manage": caller.may_manage(dataset),
        "failure_note": failure_note(latest) if may_steer and latest and latest.error else "",
        "has_source": source is not None,
        "schedule": words.schedule(Schedule.of(source)) if source else "",
        "next_run_at": source.next_run_at if source else None,
        "has_patterns": source is not None and bool(source.include or source.exclude),
        "failures": requested_page(failures, FAILURES_SIZE, request.GET, "failures_"),
        "failures_keep": f"{reason_query(reason)}&" if reason else "",
        "reason": reason,
        "reasons": count_reasons(latest, unlisted) if latest is not None else [],
        "unlisted": [] if reason else unlisted,
        "samples": gallery_page(dataset, request.GET),
        "samples_keep": "damaged&" if "damaged" in request.GET else "",
        "damaged_only": "damaged" in request.GET,
        "damaged_count": _figure(dataset.file_counts.get("damaged", 0)),
        "copies": _figure(dataset.file_counts.get("copies", 0)),
        "not_looked_at": describe(dataset.file_counts),
        "sample_count": sample_count,
        "missing_count": missing_count,
        "transitions": list(Transition.objects.filter(run=latest).order_by("-pk")[:HISTORY_SIZE]),
        "snippets": [] if runs else snippets(address_of(request), dataset_id),
    }
    return render(request, "pages/dataset.html", context)


def _figure(count: int) -> str:
    return f"{count:,}" if count else ""


def _has_unlisted(run: Run | None) -> bool:
    return run is not None and run.failed > run.failures_listed


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Show the form of a new dataset; on a valid POST, create the dataset and queue its first run."""
    caller = Caller(request.user)
    if not caller.may_add_datasets():
        raise PermissionDenied
    form = NewDatasetForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            dataset = create_dataset(
                caller,
                data["dataset_id"],
                name=data["name"],
                folder=data.get("folder", ""),
                visibility=data["visibility"],
                selection=form.selection(),
            )
        except NotAllowed as refusal:
            form.add_error("dataset_id", str(refusal))
        except FolderRefused as refusal:
            form.add_error("folder", str(refusal))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"Created {dataset}.{' Run 1 queued.' if data.get('folder') else ''}")
            return redirect(dataset)
    status = 422 if form.is_bound else 200
    return render(request, "pages/dataset_new.html", {"form": form, "roots": settings.IMPORT_ROOTS}, status=status)
