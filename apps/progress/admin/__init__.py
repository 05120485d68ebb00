"""Datasets and runs in the admin: read them, filter them, steer them. No run is edited by hand; `services` writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.datasets.admin import DatasetAdmin as PlainDatasetAdmin
from apps.datasets.admin import ReadOnlyAdmin
from apps.datasets.models import Dataset
from apps.progress import selectors
from apps.progress.health import WORDS
from apps.progress.models import (
    Head,
    ItemFailure,
    Run,
    RunMember,
    RunMessage,
    Stage,
    Transition,
    UnlistedFailures,
    WorkerShare,
)
from apps.progress.selectors import facts_of_run
from apps.progress.snapshot import DatasetProgress, snapshot

from .filters import (
    BatchFilter,
    DatasetHealthFilter,
    HealthFilter,
    OwnerFilter,
    RunBatchFilter,
    RunOwnerFilter,
    StateFilter,
)
from .inlines import MOST, EventInline, FailureInline, StageInline
from .steering import Steering


class WithBar(admin.ModelAdmin[Any]):
    """Add columns with the progress bar, as of when the list was opened, and a link to the page of the site."""

    show_facets = admin.ShowFacets.NEVER  # they would count all rows

    class Media:
        css = {"all": ("css/dist/components.css", "admin/progress.css")}

    @admin.display(description="Progress")
    def bar(self, row: Any) -> SafeString:
        return render_to_string("admin/progress/bar.html", {"progress": self.shown(row)})

    @admin.display
    def health(self, row: Any) -> str:
        progress = self.shown(row)
        return WORDS.get(progress.health, "Live") if progress.health else "–"

    @admin.display(description="Page")
    def page(self, row: Any) -> SafeString:
        return format_html('<a href="{}">Open</a>', row.get_absolute_url())

    def shown(self, row: Any) -> DatasetProgress:
        """Return the progress of a row, without a query."""
        raise NotImplementedError


class DatasetList(ChangeList):
    """A page of datasets, with the progress of all of them from one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        progress = selectors.progress_of_many(row.pk for row in self.result_list)
        # One may have been deleted between the two queries.
        rows = [row for row in self.result_list if row.pk in progress]
        for row in rows:
            row.progress = progress[row.pk]
        self.result_list = rows


@admin.register(Dataset)
class DatasetAdmin(Steering, WithBar, PlainDatasetAdmin):
    """All datasets. The actions of the list steer their latest runs."""

    list_display: tuple[str, ...] = (
        "dataset_id", "page", "name", "bar", "health", "visibility", "owner", "created_at",
    )  # fmt: skip
    list_filter = (StateFilter, DatasetHealthFilter, OwnerFilter, BatchFilter, "visibility", "created_at")
    fields: ClassVar[tuple[str, ...]] = ("dataset_id", "name", "bar", "visibility", "owner", "created_at")

    def get_fields(self, request: HttpRequest, obj: Dataset | None = None) -> list[Any]:
        return [name for name in self.fields if obj or name not in ("bar", "created_at")]

    def get_readonly_fields(self, request: HttpRequest, obj: Dataset | None = None) -> tuple[str, ...]:
        return (*super().get_readonly_fields(request, obj), "bar")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DatasetList

    def shown(self, row: Any) -> DatasetProgress:
        # A row of the list has its progress; a dataset's own page reads it.
        return getattr(row, "progress", None) or selectors.progress_of(row.pk)

    def steered(self, rows: QuerySet[Any]) -> tuple[dict[int, str], list[str]]:
        return {dataset.pk: dataset.dataset_id for dataset in rows}, []


@admin.register(Run)
class RunAdmin(Steering, WithBar, ReadOnlyAdmin):
    """All runs. The actions of the list steer those that are the latest of their datasets."""

    dataset_lookup = "dataset"
    list_display = ("__str__", "page", "bar", "health", "control", "failed", "skipped", "created_at", "finished_at")
    list_filter = ("state", HealthFilter, "control", "cancelled", RunOwnerFilter, RunBatchFilter, "created_at")
    list_select_related = ("dataset",)
    inlines = (StageInline, EventInline, FailureInline)
    fields = (
        "dataset", "number", "bar", "health", "state", "control", "cancelled", "message", "error", "percent", "failed",
        "skipped", "created_at", "started_at", "finished_at", "updated_at", "heartbeat_at", "progressed_at", "workers",
    )  # fmt: skip
    readonly_fields = ("bar", "health", "workers")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return super().get_queryset(request).select_related("dataset").prefetch_related("stages")

    @admin.display
    def workers(self, run: Run) -> SafeString:
        workers, following = selectors.workers_of(run, after=0, limit=MOST, now=timezone.now())
        return render_to_string("admin/progress/workers.html", {"workers": workers, "more": following is not None})

    def shown(self, row: Any) -> DatasetProgress:
        # Under an id of its own: a list of runs shows one dataset many times, and an element's id only once.
        return snapshot(replace(facts_of_run(row), dataset_id=f"run-{row.pk}"), timezone.now())

    def steered(self, rows: QuerySet[Any]) -> tuple[dict[int, str], list[str]]:
        latest = set(Head.objects.filter(run__in=rows).values_list("run", flat=True))
        over = [str(run) for run in rows if run.pk not in latest]
        return {run.dataset_id: str(run) for run in rows if run.pk in latest}, over


@admin.register(Stage)
class StageAdmin(ReadOnlyAdmin):
    dataset_lookup = "run__dataset"
    list_display = ("__str__", "state", "counts_as", "current", "total", "planned", "unit", "started_at", "finished_at")
    list_filter = ("state", "counts_as")
    list_select_related = ("run__dataset",)


@admin.register(WorkerShare)
class WorkerShareAdmin(ReadOnlyAdmin):
    dataset_lookup = "stage__run__dataset"
    list_display = ("worker", "stage", "current", "total", "failed", "skipped")
    list_select_related = ("stage__run__dataset",)


@admin.register(RunMember)
class RunMemberAdmin(ReadOnlyAdmin):
    dataset_lookup = "run__dataset"
    list_display = ("worker", "run", "joined_at", "heard_at", "left_at", "error")
    list_select_related = ("run__dataset",)


@admin.register(ItemFailure)
class ItemFailureAdmin(ReadOnlyAdmin):
    dataset_lookup = "run__dataset"
    list_display = ("item", "reason", "stage", "run", "at")
    list_filter = ("at",)
    list_select_related = ("run__dataset",)


@admin.register(UnlistedFailures)
class UnlistedFailuresAdmin(ReadOnlyAdmin):
    dataset_lookup = "run__dataset"
    list_display = ("reason", "count", "stage", "run")
    list_select_related = ("run__dataset",)


@admin.register(Transition)
class TransitionAdmin(ReadOnlyAdmin):
    """The history: who changed what, and when."""

    dataset_lookup = "run__dataset"
    list_display = ("at", "run", "version", "stage", "old", "new", "note")
    list_filter = ("at",)
    list_select_related = ("run__dataset",)


@admin.register(RunMessage)
class RunMessageAdmin(ReadOnlyAdmin):
    dataset_lookup = "run__dataset"
    list_display = ("at", "run", "text")
    list_select_related = ("run__dataset",)


@admin.register(Head)
class HeadAdmin(ReadOnlyAdmin):
    dataset_lookup = "dataset"
    list_display = ("dataset", "epoch", "version", "run")
    list_select_related = ("dataset", "run__dataset")
