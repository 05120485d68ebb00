"""The list of datasets, and the form of a new one."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.datasets.access.errors import NotAllowed
from apps.datasets.access.rules import Caller
from apps.pages.forms import NewDatasetForm
from apps.pages.listing import SORTS, ListQuery, list_datasets
from apps.pipeline.images.folders import FolderRefused
from apps.pipeline.services import create_dataset


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
