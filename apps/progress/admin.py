"""Runs in the admin: read them, pause, resume and cancel them. Nothing can be edited by hand; `services` writes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from apps.datasets.admin import DatasetAdmin as PlainDatasetAdmin
from apps.datasets.admin import ReadOnlyAdmin
from apps.datasets.models import Dataset

from . import selectors, services
from .control import Action
from .facts import current_stage
from .models import Head, ItemFailure, Run, RunMember, RunMessage, Stage, Transition, UnlistedFailures, WorkerShare


class WithBar(admin.ModelAdmin[Any]):
    """Add a column with the progress bar, as of when the list was opened."""

    class Media:
        css = {"all": ("css/dist/components.css", "admin/progress.css")}

    @admin.display(description="Progress")
    def bar(self, row: Any) -> SafeString:
        state, current, total = self.shown(row)
        # By its props and not as an object: a list of runs shows one dataset many times, and an element's id only once.
        return render_to_string("admin/progress/bar.html", {"state": state, "current": current, "total": total})

    def shown(self, row: Any) -> tuple[str, int, int]:
        """Return the state, current and total of a row, without a query."""
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
class DatasetAdmin(WithBar, PlainDatasetAdmin):
    list_display: tuple[str, ...] = ("dataset_id", "name", "bar", "visibility", "owner", "created_at")
    fields: ClassVar[tuple[str, ...]] = ("dataset_id", "name", "bar", "visibility", "owner", "created_at")

    def get_fields(self, request: HttpRequest, obj: Dataset | None = None) -> list[Any]:
        return [name for name in self.fields if obj or name not in ("bar", "created_at")]

    def get_readonly_fields(self, request: HttpRequest, obj: Dataset | None = None) -> tuple[str, ...]:
        return (*super().get_readonly_fields(request, obj), "bar")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DatasetList

    def shown(self, row: Any) -> tuple[str, int, int]:
        # A row of the list has its progress; a dataset's own page reads it.
        progress = getattr(row, "progress", None) or selectors.progress_of(row.pk)
        return progress.state, progress.current, progress.total


class StageInline(admin.TabularInline[Stage, Run]):
    model = Stage
    fields = ("position", "name", "label", "counts_as", "state", "current", "total", "planned", "unit", "weight")
    readonly_fields = fields
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Run)
class RunAdmin(WithBar, ReadOnlyAdmin):
    """All runs. The actions of the list pause, resume, cancel, end and retry them."""

    dataset_lookup = "dataset"
    list_display = ("__str__", "bar", "control", "failed", "skipped", "created_at", "finished_at")
    list_filter = ("state", "control", "cancelled", "created_at")
    list_select_related = ("dataset",)
    inlines = (StageInline,)
    actions = ("pause", "resume", "cancel", "end_now", "retry", "retry_failed")
    fields = (
        "dataset", "number", "bar", "state", "control", "cancelled", "message", "error", "percent", "failed", "skipped",
        "created_at", "started_at", "finished_at", "updated_at", "heartbeat_at", "progressed_at",
    )  # fmt: skip
    readonly_fields = ("bar",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return super().get_queryset(request).prefetch_related(Prefetch("stages", Stage.objects.defer("readings")))

    def shown(self, row: Any) -> tuple[str, int, int]:
        stage = current_stage(row.stages.all()) or Stage()
        return row.state, stage.current, stage.total

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause, resume and cancel: those with the permission to change runs may."""
        return request.user.has_perm("progress.change_run")

    @admin.action(description="Pause", permissions=["steer"])
    def pause(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        self._steer(request, runs, Action.PAUSE)

    @admin.action(description="Resume", permissions=["steer"])
    def resume(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        self._steer(request, runs, Action.RESUME)

    @admin.action(description="Cancel", permissions=["steer"])
    def cancel(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        self._steer(request, runs, Action.CANCEL)

    @admin.action(description="End now, where it does not obey", permissions=["steer"])
    def end_now(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        self._steer(request, runs, Action.END)

    @admin.action(description="Retry", permissions=["steer"])
    def retry(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        self._steer(request, runs, Action.RETRY)

    @admin.action(description="Retry what failed", permissions=["steer"])
    def retry_failed(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        self._steer(request, runs, Action.RETRY_FAILED)

    def _steer(self, request: HttpRequest, runs: QuerySet[Run], action: Action) -> None:
        """Do the action to those of the runs that are the latest of their datasets, and say what became of each."""
        latest = set(Head.objects.filter(run__in=runs).values_list("run", flat=True))
        by_dataset = {run.dataset_id: str(run) for run in runs if run.pk in latest}
        over = [str(run) for run in runs if run.pk not in latest]
        outcomes = services.request(action, by_dataset, request.user.get_username())
        told: dict[tuple[bool, str], list[str]] = {(False, "It is over, and another followed."): over} if over else {}
        for pk, outcome in outcomes.items():
            told.setdefault((outcome.changed, outcome.detail), []).append(by_dataset[pk])
        for (changed, detail), names in told.items():
            level = messages.SUCCESS if changed else messages.WARNING
            self.message_user(request, f"{', '.join(names)}: {detail}", level)


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
