"""Admin pages of the pipeline's tables. They are read-only: the pipeline alone writes these rows."""

from __future__ import annotations

from django.contrib import admin

from apps.datasets.admin import ReadOnlyAdmin

from .models import Chunk, Job, Source


@admin.register(Source)
class SourceAdmin(ReadOnlyAdmin):
    dataset_lookup = "dataset"
    list_display = ("dataset", "folder", "every_minutes", "daily_at", "next_run_at")
    list_select_related = ("dataset",)


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Shows which worker holds a run, and when its lease ends unless it is renewed."""

    dataset_lookup = "run__dataset"
    list_display = ("run", "phase", "lease_token", "lease_until", "task_id")
    list_filter = ("phase",)
    list_select_related = ("run__dataset",)


@admin.register(Chunk)
class ChunkAdmin(ReadOnlyAdmin):
    dataset_lookup = "job__run__dataset"
    list_display = ("__str__", "phase", "position", "size", "done")
    list_filter = ("phase", "done")
    list_select_related = ("job__run__dataset",)
    fields = ("job", "phase", "position", "size", "done")  # not the items
