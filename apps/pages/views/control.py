"""Pause, resume, cancel, end and retry: of one dataset, and of those that were chosen in the list."""

from __future__ import annotations

from collections import Counter
from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from apps.datasets.access.lookup import find_steerable
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.pages.access import steering
from apps.pages.amounts import plural
from apps.pages.words import STEERED
from apps.progress.control import Action
from apps.progress.selectors import progress_of, progress_of_many
from apps.progress.snapshot import DatasetProgress
from apps.progress.steering import steer

MOST_CHOSEN: Final = 1000


@require_POST
@steering
def control(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Pause, resume, cancel, end or retry. A run that ended in the meantime is a message, not an error."""
    action = _action(request)
    if action is None:
        return _unknown_action()
    [result] = steer(Caller(request.user), action, [dataset.dataset_id])
    address = _next(request)
    detail = f"{dataset}: {result.detail}" if address else result.detail
    (messages.success if result.changed else messages.warning)(request, detail)
    return redirect(address or dataset)


@require_POST
@login_required
def control_many(request: HttpRequest) -> HttpResponse:
    """Do the same to each chosen dataset, and say what became of them: the field ``dataset`` has their ids."""
    action = _action(request)
    if action is None:
        return _unknown_action()
    chosen = _chosen(request)
    results = steer(Caller(request.user), action, chosen)
    if changed := sum(result.changed for result in results):
        messages.success(request, f"{plural(changed, 'datasets')}: {STEERED[action]}.")
    for detail, count in Counter(result.detail for result in results if not result.changed).most_common(5):
        messages.warning(request, f"{plural(count, 'datasets')}: {detail}")
    if not chosen:
        messages.warning(request, "Choose some datasets first.")
    return redirect(_next(request) or "datasets")


@require_safe
@steering
def cancel(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Ask before a run is cancelled."""
    action = reverse("dataset-control", args=[dataset.dataset_id])
    progress = progress_of(dataset.pk)
    shown = {"dataset": dataset, "progress": progress}  # the header shows it, as on every page of a dataset
    return _ask(request, [progress], action=action, back=dataset.get_absolute_url(), **shown)


@require_POST
@login_required
def cancel_many(request: HttpRequest) -> HttpResponse:
    """Ask before the runs of the chosen datasets are cancelled. Changes nothing."""
    found = find_steerable(Caller(request.user), _chosen(request)).values()
    progress = progress_of_many(dataset.pk for dataset in found if isinstance(dataset, Dataset))
    back = _next(request) or reverse("datasets")
    return _ask(request, list(progress.values()), action=reverse("control-many"), back=back)


def _ask(
    request: HttpRequest, chosen: list[DatasetProgress], *, action: str, back: str, **shown: object
) -> HttpResponse:
    running = [progress for progress in chosen if progress.run and not progress.is_finished]
    return render(request, "pages/cancel.html", {
        "running": running, "others": len(chosen) - len(running), "action": action, "next": back, **shown,
    })  # fmt: skip


def _chosen(request: HttpRequest) -> list[str]:
    return request.POST.getlist("dataset")[:MOST_CHOSEN]


def _next(request: HttpRequest) -> str:
    """Return the address of this site to come back to; empty if the request names none."""
    address = request.POST.get("next", "")
    return address if url_has_allowed_host_and_scheme(address, allowed_hosts={request.get_host()}) else ""


def _action(request: HttpRequest) -> Action | None:
    try:
        return Action(request.POST.get("action", ""))
    except ValueError:
        return None


def _unknown_action() -> HttpResponse:
    text = f"Unknown action. Use one of {', '.join(Action)}."
    return HttpResponse(text, status=400, content_type="text/plain")
