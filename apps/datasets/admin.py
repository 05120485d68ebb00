"""Datasets in the admin. `apps.progress.admin` adds the bars, which this app knows nothing of, and registers it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from .models import Dataset, EmbeddingBlock, Sample, Token
from .tokens import give_secret


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """For records that only services write: they can be looked at, and nothing else."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DatasetAdmin(admin.ModelAdmin[Dataset]):
    """Who a dataset belongs to and who may see it."""

    list_display: tuple[str, ...] = ("dataset_id", "name", "visibility", "owner", "created_at")
    list_filter = ("visibility", "created_at")
    list_select_related = ("owner",)
    search_fields = ("dataset_id", "name", "owner__username")
    date_hierarchy = "created_at"
    autocomplete_fields = ("owner", "members")
    fields: ClassVar[tuple[str, ...]] = ("dataset_id", "name", "visibility", "owner", "members", "created_at")
    readonly_fields = ("created_at",)

    def get_readonly_fields(self, request: HttpRequest, obj: Dataset | None = None) -> tuple[str, ...]:
        # The id stands in addresses and in the scripts that report: it is given once.
        return (*self.readonly_fields, "dataset_id") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        # A dataset is deleted on its own page, which does not list its half a million samples first.
        return False


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin[Token]):
    """Tokens: made here, shown once, revoked at once."""

    list_display = (
        "name",
        "start",
        "user",
        "datasets",
        "can_write",
        "created_at",
        "expires_at",
        "last_used_at",
        "holds",
    )
    list_filter = ("can_write", "created_at", "expires_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("name", "start", "user__username", "datasets")
    autocomplete_fields = ("user",)
    actions = ("revoke",)
    fields: ClassVar[tuple[str, ...]] = ("name", "user", "datasets", "can_write", "expires_at")
    unchanging = ("user", "start", "created_at", "last_used_at", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> list[Any]:
        return list(dict.fromkeys((*self.fields, *self.unchanging))) if obj else list(self.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Token | None = None) -> tuple[str, ...]:
        return self.unchanging if obj else ()

    @admin.display(boolean=True, description="Holds")
    def holds(self, token: Token) -> bool:
        return token.holds

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        secret = "" if change else give_secret(obj)
        super().save_model(request, obj, form, change)
        if secret:
            messages.warning(request, f"The token is {secret} — copy it now: it is not shown again.")

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[Token]) -> None:
        revoked = tokens.filter(revoked_at=None).update(revoked_at=timezone.now())
        messages.success(request, f"{revoked} of {tokens.count()} revoked.")


@admin.register(Sample)
class SampleAdmin(ReadOnlyAdmin):
    list_display = ("path", "dataset", "format", "width", "height", "size", "seen_in_run")
    list_filter = ("format",)
    list_select_related = ("dataset",)
    search_fields = ("=sha256", "path", "=dataset__dataset_id")
    # Counting half a million rows a second time only to say how many there are without the filter is not worth it.
    show_full_result_count = False


@admin.register(EmbeddingBlock)
class EmbeddingBlockAdmin(ReadOnlyAdmin):
    list_display = ("id", "dataset", "embedder", "dimensions")
    list_filter = ("embedder",)
    list_select_related = ("dataset",)
    search_fields = ("=dataset__dataset_id", "embedder")
    fields = ("dataset", "embedder", "dimensions")  # not the megabytes
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("sample_ids", "vectors")
