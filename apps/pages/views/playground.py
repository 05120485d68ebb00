"""The playground of staff: look at the components, set a dataset's state by hand, simulate a run.

Its page names the dataset and how its bar is kept in step in the query string, and its forms go on with them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.views.decorators.http import require_POST, require_safe

from apps.datasets.access.creation import create
from apps.datasets.access.errors import NotAllowed
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.pages.playground import ByHandForm, DatasetForm, SimulationForm, examples
from apps.progress import services
from apps.progress.control import Action
from apps.progress.errors import ProgressError, RunUnfinished
from apps.progress.origin import Origin
from apps.progress.reports import Report, accept_reports
from apps.progress.selectors import progress_of
from apps.progress.steering import steer
from apps.simulation.background import TooMany, start

View = Callable[[HttpRequest], HttpResponse]


def staff_only(view: View) -> View:
    """Call ``view`` for staff. Others are asked to sign in, or get a 403."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if not request.user.is_staff:
            raise PermissionDenied
        return view(request)

    return login_required(guarded)


@require_safe
@staff_only
def index(request: HttpRequest) -> HttpResponse:
    """Show a dataset live, the forms, and every component in every state."""
    return _page(request, _chosen(request.GET))


@require_POST
@staff_only
def by_hand(request: HttpRequest) -> HttpResponse:
    """Say of a dataset what the form says. It is created, and a run begun, where there is none."""
    chosen, form = _chosen(request.POST), ByHandForm(request.POST)
    if not (chosen.is_valid() and form.is_valid()):
        return _page(request, chosen, by_hand=form)
    dataset = _found_or_created(request, chosen)
    if dataset is not None:
        refusal = _say(dataset, form.report(), str(request.user), new_run=form.cleaned_data["new_run"])
        if refusal is None:
            messages.success(request, "Set.")
        else:
            messages.error(request, f"{capfirst(str(refusal)).removesuffix('.')}. Begin a new run for that.")
    return _back(chosen)


@require_POST
@staff_only
def simulate(request: HttpRequest) -> HttpResponse:
    """Start the simulation that the form describes."""
    chosen, form = _chosen(request.POST), SimulationForm(request.POST)
    if not (chosen.is_valid() and form.is_valid()):
        return _page(request, chosen, simulation=form)
    dataset = _found_or_created(request, chosen)
    if dataset is not None:
        try:
            run = start(dataset, form.plan(), str(request.user), replace=form.cleaned_data["new_run"])
        except TooMany as refusal:
            messages.error(request, str(refusal))
        except RunUnfinished as refusal:
            messages.error(request, f"{refusal} Stop it, or begin a new one.")
        else:
            messages.success(request, f"Simulating run {run.number}.")
    return _back(chosen)


@require_POST
@staff_only
def stop(request: HttpRequest) -> HttpResponse:
    """Cancel the run of the dataset, as the button on its page does."""
    chosen = _chosen(request.POST)
    if not chosen.is_valid():
        return _page(request, chosen)
    [result] = steer(Caller(request.user), Action.CANCEL, [chosen.cleaned_data["dataset"]])
    (messages.success if result.changed else messages.warning)(request, result.detail)
    return _back(chosen)


def _say(dataset: Dataset, report: Report, by: str, *, new_run: bool) -> ProgressError | None:
    """Take in a report, in a new run where none is open. Returns why it is refused; then nothing has changed."""
    progress = progress_of(dataset.pk)
    with transaction.atomic():
        if new_run or progress.run is None or progress.is_finished:
            services.begin_run(dataset, replace=True, origin=Origin(by=by))
        [answer] = accept_reports([(dataset.pk, report)], by=by)
        if isinstance(answer, ProgressError):
            transaction.set_rollback(True)
            return answer
    return None


def _chosen(params: QueryDict) -> DatasetForm:
    """Return the form that says which dataset, with the defaults where it is silent."""
    said = {name: params[name] for name in DatasetForm.base_fields if name in params}
    return DatasetForm({name: field.initial for name, field in DatasetForm.base_fields.items()} | said)


def _found_or_created(request: HttpRequest, chosen: DatasetForm) -> Dataset | None:
    dataset_id = chosen.cleaned_data["dataset"]
    if (found := Dataset.objects.filter(dataset_id=dataset_id).first()) is not None:
        return found
    try:
        return create(Caller(request.user), dataset_id, visibility=Dataset.Visibility.PRIVATE)
    except NotAllowed as refusal:
        messages.error(request, str(refusal))
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    return None


def _back(chosen: DatasetForm) -> HttpResponse:
    return redirect(f"{reverse('playground')}?{urlencode(chosen.cleaned_data)}")


def _page(request: HttpRequest, chosen: DatasetForm, **forms_: forms.Form) -> HttpResponse:
    dataset = None
    if chosen.is_valid():
        dataset = Dataset.objects.filter(dataset_id=chosen.cleaned_data["dataset"]).first()
    shown, mode = progress_of(dataset.pk) if dataset else None, chosen.cleaned_data.get("mode", "")
    context: dict[str, Any] = {
        "chosen": chosen,
        "dataset": dataset,
        "shown": shown,
        "mode": mode,
        "progress": None if mode == "manual" else shown,  # the header polls, and comes with every push
        "by_hand": ByHandForm(),
        "simulation": SimulationForm(),
        "examples": examples(),
        **forms_,
    }
    is_wrong = bool(forms_) or not chosen.is_valid()
    return render(request, "pages/playground.html", context, status=422 if is_wrong else 200)
