"""What those who may steer or manage a dataset may do to it: process, choose files, forget what is missing, and delete.

Each redirects to the dataset's page with a message. A run that ended in the meantime is a message too, not an error.
"""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from apps.datasets.models import Dataset, Sample
from apps.datasets.services import delete_dataset, forget_missing_samples
from apps.pages.access import managing, steering
from apps.pages.amounts import plural
from apps.pages.forms import PatternsForm, ScheduleForm
from apps.pipeline.images.folders import FolderRefused
from apps.pipeline.images.selection import describe
from apps.pipeline.schedules import Schedule, set_schedule
from apps.pipeline.services import NoSource, queue_run, select_files, source_of
from apps.progress.errors import RunUnfinished
from apps.progress.models import Run
from apps.progress.selectors import progress_of


@require_POST
@steering
def process(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Queue another run over the dataset's folder."""
    try:
        run = queue_run(dataset, by=str(request.user))
    except RunUnfinished:
        messages.warning(request, "A run is already in progress.")
    except (NoSource, FolderRefused) as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"Run {run.number} queued.")
    return redirect(dataset)


@require_http_methods(["GET", "HEAD", "POST"])
@managing
def forget_missing(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Show what will be forgotten and what will be kept; on POST, forget the samples whose files are gone."""
    if request.method == "POST":
        count = forget_missing_samples(dataset)
        messages.success(request, f"Forgot {plural(count, 'missing samples')}.")
        return redirect(dataset)
    context = {
        "dataset": dataset,
        "progress": progress_of(dataset.pk),
        "missing_count": dataset.missing_samples().count(),
    }
    return render(request, "pages/dataset_forget_missing.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@steering
def files(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Show which files of the folder are looked at; on a valid POST, change it for the next run."""
    source = source_of(dataset)
    if source is None:
        raise Http404
    initial = {"include": source.include, "exclude": source.exclude}
    form = PatternsForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        select_files(dataset, form.selection())
        messages.success(request, "Saved. The next run looks at these files.")
        return redirect(dataset)
    context = {
        "dataset": dataset,
        "progress": progress_of(dataset.pk),
        "form": form,
        "not_looked_at": describe(dataset.file_counts),
    }
    return render(request, "pages/dataset_files.html", context, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@steering
def schedule(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Show when the folder is processed again by itself; on a valid POST, change it."""
    source = source_of(dataset)
    if source is None:
        raise Http404
    initial = ScheduleForm.initial_of(Schedule.of(source))
    form = ScheduleForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        set_schedule(dataset, form.cleaned_data["schedule"])
        messages.success(request, "Saved.")
        return redirect(dataset)
    context = {"dataset": dataset, "progress": progress_of(dataset.pk), "form": form, "next_run_at": source.next_run_at}
    return render(request, "pages/dataset_schedule.html", context, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@managing
def delete(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Show what will be deleted and what will be kept; on POST, delete the dataset."""
    if request.method == "POST":
        title = str(dataset)
        delete_dataset(dataset)
        messages.success(request, f"Deleted {title}.")
        return redirect("datasets")
    context = {
        "dataset": dataset,
        "progress": progress_of(dataset.pk),
        "sample_count": dataset.count_samples() + Sample.objects.missing().filter(dataset=dataset).count(),
        "run_count": Run.objects.filter(dataset=dataset).count(),
    }
    return render(request, "pages/dataset_delete.html", context)
