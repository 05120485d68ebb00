"""Batches in the admin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.core.admin import PartialSave
from apps.core.paginator import BoundedPaginator

from .models import Batch


@admin.register(Batch)
class BatchAdmin(PartialSave[Batch]):
    """Edit the name, owner and limit of a batch. Its own page shows its datasets, and adds and removes them."""

    list_display = ("batch_id", "name", "datasets_count", "limit", "owner", "created_at", "page")
    list_filter = ("created_at",)
    list_select_related = ("owner",)
    search_fields = ("batch_id", "name")
    autocomplete_fields = ("owner",)
    paginator = BoundedPaginator
    show_full_result_count = False
    fields: ClassVar[tuple[str, ...]] = ("batch_id", "name", "owner", "limit", "created_at", "page")

    def get_readonly_fields(self, request: HttpRequest, obj: Batch | None = None) -> tuple[str, ...]:
        return ("batch_id", "created_at", "page") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Batch | None = None) -> list[Any]:
        return [name for name in self.fields if obj or name not in ("created_at", "page")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        return super().get_queryset(request).annotate(members=Count("memberships"))

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """Name the batches alone. Django would name each of their datasets, up to 10,000, with two queries for each."""
        names = [str(batch) for batch in objs]
        return names, {Batch._meta.verbose_name_plural: len(names)}, set(), []

    @admin.display(description="Datasets")
    def datasets_count(self, batch: Any) -> int:
        return int(batch.members)

    @admin.display(description="Page")
    def page(self, batch: Batch) -> SafeString:
        return format_html('<a href="{}">Open</a>', reverse("batch", args=[batch.batch_id]))
