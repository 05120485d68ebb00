"""The admin of datasets and tokens. `apps.progress.admin` registers `DatasetAdmin`, with a progress bar."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import InlineModelAdmin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.admin import PartialSave
from apps.core.paginator import BoundedPaginator

from .models import Dataset, EmbeddingBlock, Membership, ReservedPrefix, Sample, Token
from .services import revoke_tokens, save_new_token


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Show records that only services write, without those of deleted datasets."""

    dataset_lookup: ClassVar[str]  # from a record to its dataset
    # Their tables have millions of rows: no list counts all of them, or looks for a part of a text in each.
    paginator = BoundedPaginator
    show_full_result_count = False
    ordering = ("-pk",)

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "dataset_lookup"):
            cls.search_fields = (f"{cls.dataset_lookup}__dataset_id__exact",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(**{f"{self.dataset_lookup}__deleted_at": None})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MembershipInline(admin.TabularInline[Membership, Dataset]):
    model = Membership
    autocomplete_fields = ("user",)
    verbose_name = "member"
    extra = 0


class DatasetForm(forms.ModelForm[Dataset]):
    """Refuses an id that is taken. Django leaves that to the database: the constraint has a field that no form has."""

    def clean_dataset_id(self) -> str:
        dataset_id: str = self.cleaned_data["dataset_id"]
        if Dataset.objects.filter(dataset_id=dataset_id).exists():
            raise ValidationError("Dataset with this ID already exists.", code="unique")
        return dataset_id


class DatasetAdmin(PartialSave[Dataset]):
    """Edit the name of a dataset, its owner and who may see it."""

    form = DatasetForm
    list_display: tuple[str, ...] = ("dataset_id", "name", "visibility", "owner", "created_at")
    list_filter: ClassVar[tuple[Any, ...]] = ("visibility", "created_at")
    list_select_related = ("owner",)
    search_fields = ("dataset_id", "name")
    paginator = BoundedPaginator
    show_full_result_count = False
    autocomplete_fields = ("owner",)
    fields: ClassVar[tuple[str, ...]] = ("dataset_id", "name", "visibility", "owner", "created_at")
    readonly_fields = ("created_at",)

    def get_inlines(self, request: HttpRequest, obj: Dataset | None) -> list[type[InlineModelAdmin[Any, Any]]]:
        return [MembershipInline] if obj else []

    def get_readonly_fields(self, request: HttpRequest, obj: Dataset | None = None) -> tuple[str, ...]:
        # Addresses and scripts contain the id, so it never changes.
        return (*self.readonly_fields, "dataset_id") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        # Its own page deletes a dataset. The admin would list its half a million samples first.
        return False


@admin.register(ReservedPrefix)
class ReservedPrefixAdmin(admin.ModelAdmin[ReservedPrefix]):
    """Reserve the names of a team's datasets. A team is a group of users."""

    list_display = ("prefix", "team")
    list_select_related = ("team",)
    search_fields = ("prefix", "team__name")
    autocomplete_fields = ("team",)


@admin.register(Token)
class TokenAdmin(PartialSave[Token]):
    """Create tokens, whose secret is shown once, and revoke them."""

    list_display = (
        "name",
        "start",
        "user",
        "datasets",
        "can_write",
        "created_at",
        "expires_at",
        "last_used_at",
        "is_active",
    )
    list_filter = ("can_write", "created_at", "expires_at", "revoked_at")
    list_select_related = ("user",)
    search_fields = ("name", "start", "user__username", "datasets")
    autocomplete_fields = ("user",)
    actions = ("revoke",)
    fields: ClassVar[tuple[str, ...]] = ("name", "user", "datasets", "can_write", "expires_at")
    unchangeable = ("user", "start", "created_at", "last_used_at", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: Token | None = None) -> list[Any]:
        return list(dict.fromkeys((*self.fields, *self.unchangeable))) if obj else list(self.fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Token | None = None) -> tuple[str, ...]:
        return self.unchangeable if obj else ()

    @admin.display(boolean=True, description="Active")
    def is_active(self, token: Token) -> bool:
        return token.is_active

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
        else:
            secret = save_new_token(obj)
            messages.warning(request, f"The new token is {secret}. Copy it now: it will not be shown again.")

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[Token]) -> None:
        messages.success(request, f"Revoked {revoke_tokens(tokens)} of {tokens.count()}.")


@admin.register(Sample)
class SampleAdmin(ReadOnlyAdmin):
    dataset_lookup = "dataset"
    list_display = ("path", "dataset", "format", "width", "height", "size", "seen_in_run", "missing_since")
    list_select_related = ("dataset",)


@admin.register(EmbeddingBlock)
class EmbeddingBlockAdmin(ReadOnlyAdmin):
    dataset_lookup = "dataset"
    list_display = ("id", "dataset", "embedder", "dimensions")
    list_select_related = ("dataset",)
    fields = ("dataset", "embedder", "dimensions")  # the other fields have megabytes

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("sample_ids", "vectors")
