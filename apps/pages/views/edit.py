"""The page on which the owner of a dataset and staff change its name, who sees it, and its folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from apps.datasets.access.errors import QuotaReached
from apps.datasets.access.rules import Caller
from apps.datasets.access.sharing import SharingChange, share, sharing_of
from apps.datasets.models import Dataset
from apps.datasets.services import rename_dataset
from apps.pages.access import managing
from apps.pages.forms import EditForm, members_text
from apps.pipeline.images.folders import FolderRefused
from apps.pipeline.services import change_folder, source_of
from apps.progress.errors import RunUnfinished
from apps.progress.selectors import progress_of


@require_http_methods(["GET", "HEAD", "POST"])
@managing
def edit(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Show the form; on a valid POST, change what is another, all of it or nothing."""
    current, source = sharing_of(dataset), source_of(dataset)
    folder = source.folder if source else ""
    initial = {**asdict(current), "members": members_text(current), "name": dataset.name, "folder": folder}
    form = EditForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid() and _save(request, dataset, form, folder):
        messages.success(request, "Saved.")
        return redirect(dataset if Caller(request.user).visible().filter(pk=dataset.pk).exists() else "datasets")
    context = {"dataset": dataset, "progress": progress_of(dataset.pk), "form": form, "folder": folder}
    return render(request, "pages/dataset_edit.html", context, status=422 if form.is_bound else 200)


def _save(request: HttpRequest, dataset: Dataset, form: EditForm, folder: str) -> bool:
    """Return whether it was saved; else the form says why not."""
    data: dict[str, Any] = dict(form.cleaned_data)
    name, new_folder = data.pop("name"), data.pop("folder", folder)
    try:
        with transaction.atomic():
            if name != dataset.name:
                rename_dataset(dataset, name)
            if new_folder != folder:
                change_folder(dataset, new_folder)
            share(Caller(request.user), dataset, SharingChange(**data))
    except QuotaReached as refusal:
        form.add_error("owner", str(refusal))
    except (FolderRefused, RunUnfinished) as refusal:
        form.add_error("folder", str(refusal))
    except ValidationError as error:
        form.add_error(None, error)
    else:
        return True
    return False
