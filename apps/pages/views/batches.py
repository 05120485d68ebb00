"""The batches: their list, the page of one, its forms, and what steers all of its datasets."""

from __future__ import annotations

from collections import Counter
from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.batches import services
from apps.batches.access import get_visible_batch, may_change, members_of, visible_batches
from apps.batches.errors import UnknownBatch, UnknownMembers
from apps.batches.models import Batch
from apps.batches.selectors import progress_of_batch, segments_of_many
from apps.batches.steering import steer_batch
from apps.core.paginator import BoundedPaginator
from apps.datasets.access.errors import NotAllowed
from apps.datasets.access.rules import Caller
from apps.pages.amounts import plural
from apps.pages.batches import batch_bar_of_segments
from apps.pages.forms import BatchForm
from apps.pages.listing import ListQuery, list_datasets
from apps.pages.words import STEERED
from apps.progress.control import Action

PAGE_SIZE: Final = 50


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the batches that the user may see, in a constant number of queries."""
    caller = Caller(request.user)
    page = BoundedPaginator(visible_batches(caller).order_by("batch_id"), PAGE_SIZE).get_page(request.GET.get("page"))
    found = list(page.object_list)
    segments = segments_of_many(caller, found, timezone.now())
    rows = [(batch, batch_bar_of_segments(segments.get(batch.pk, ()))) for batch in found]
    return render(request, "pages/batches.html", {"page": page, "rows": rows, "may_create": _may_create(caller)})


def _may_create(caller: Caller) -> bool:
    return caller.user is not None and not caller.user.is_anonymous and caller.may_add_datasets()


@require_safe
def detail(request: HttpRequest, batch_id: str) -> HttpResponse:
    """Show a batch: its live panel, and the rows of its datasets; only those where htmx asks."""
    caller = Caller(request.user)
    batch = _batch(caller, batch_id)
    query = ListQuery.parse(request.GET)
    listing = list_datasets(request.user, query, request.GET.get("page"), members_of(caller, batch))
    context = {
        "batch": batch,
        "overall": progress_of_batch(caller, batch),
        "listing": listing,
        "socket": listing.socket.replace("/progress/live/", f"{batch.get_absolute_url()}progress/live/", 1),
        "may_steer": any(row.may_steer for row in listing.rows) or may_change(caller, batch),
        "may_change": may_change(caller, batch),
    }
    template = "pages/batch.html#rows" if request.headers.get("HX-Request") else "pages/batch.html"
    response = render(request, template, context)
    response.headers["Vary"] = "HX-Request, Cookie"
    return response


@require_POST
@login_required
def control(request: HttpRequest, batch_id: str) -> HttpResponse:
    """Do the same to each dataset of the batch that the user may steer, and say what became of them."""
    caller = Caller(request.user)
    batch = _batch(caller, batch_id)
    try:
        action = Action(request.POST.get("action", ""))
    except ValueError:
        return HttpResponse(f"Unknown action. Use one of {', '.join(Action)}.", status=400, content_type="text/plain")
    results = steer_batch(caller, action, batch)
    if changed := sum(result.changed for result in results):
        messages.success(request, f"{plural(changed, 'datasets')}: {STEERED[action]}.")
    else:
        for detail, count in Counter(result.detail for result in results).most_common(3):
            messages.warning(request, f"{plural(count, 'datasets')}: {detail}")
    if not results:
        messages.warning(request, "It has no datasets.")
    return redirect(batch)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Show the form of a new batch of the datasets that were chosen in the list; on a valid POST of it, create it."""
    caller = Caller(request.user)
    if not _may_create(caller):
        raise PermissionDenied
    chosen = {"datasets": "\n".join(request.POST.getlist("dataset"))}
    form = BatchForm(request.POST if "batch_id" in request.POST else None, initial=chosen)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        try:
            batch = services.create_batch(
                caller, data["batch_id"], name=data["name"], limit=data["limit"], dataset_ids=data["datasets"]
            )
        except (NotAllowed, UnknownMembers, ValidationError) as refusal:
            _add_refusal(form, refusal)
        else:
            messages.success(request, f"Created {batch}.")
            return redirect(batch)
    return render(request, "pages/batch_form.html", {"form": form}, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: HttpRequest, batch_id: str) -> HttpResponse:
    """Show the form of a batch; on a valid POST, change it. Datasets that the user does not see stay in it."""
    caller, batch = _changeable(request, batch_id)
    members = list(members_of(caller, batch).order_by("dataset_id").values_list("dataset_id", flat=True))
    initial = {"name": batch.name, "limit": batch.limit or None, "datasets": "\n".join(members)}
    form = BatchForm(request.POST if request.method == "POST" else None, initial=initial)
    del form.fields["batch_id"]
    if request.method == "POST" and form.is_valid():
        wanted = set(form.cleaned_data["datasets"])
        try:
            with transaction.atomic():
                services.remove_datasets(caller, batch, set(members) - wanted)
                services.add_datasets(caller, batch, sorted(wanted - set(members)))
                services.change_batch(batch, name=form.cleaned_data["name"], limit=form.cleaned_data["limit"])
        except (NotAllowed, UnknownMembers, ValidationError) as refusal:
            _add_refusal(form, refusal)
        else:
            messages.success(request, "Saved.")
            return redirect(batch)
    context = {"form": form, "batch": batch}
    return render(request, "pages/batch_form.html", context, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: HttpRequest, batch_id: str) -> HttpResponse:
    """Show what will be kept; on POST, delete the batch."""
    caller, batch = _changeable(request, batch_id)
    if request.method == "POST":
        title = str(batch)
        services.delete_batch(batch)
        messages.success(request, f"Deleted {title}.")
        return redirect("batches")
    return render(request, "pages/batch_delete.html", {"batch": batch, "count": members_of(caller, batch).count()})


def _batch(caller: Caller, batch_id: str) -> Batch:
    """Return a batch that the caller may see. Raises `Http404`."""
    try:
        return get_visible_batch(caller, batch_id)
    except UnknownBatch as refusal:
        raise Http404 from refusal


def _changeable(request: HttpRequest, batch_id: str) -> tuple[Caller, Batch]:
    """Return the user and a batch that they may change. Raises `Http404` and `PermissionDenied`."""
    caller = Caller(request.user)
    batch = _batch(caller, batch_id)
    if not may_change(caller, batch):
        raise PermissionDenied
    return caller, batch


def _add_refusal(form: BatchForm, refusal: Exception) -> None:
    """Show why the form was refused, at the field that it is about."""
    if isinstance(refusal, ValidationError):
        for field, errors in refusal.error_dict.items() if hasattr(refusal, "error_dict") else [("", [refusal])]:
            form.add_error(field if field in form.fields else None, errors)
    else:
        form.add_error("datasets" if isinstance(refusal, UnknownMembers) else None, str(refusal))
