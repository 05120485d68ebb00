"""What a run's page in the admin shows of it: the newest rows of each kind. The run's own page has all of them."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from apps.progress.models import ItemFailure, Run, Stage, Transition

MOST: Final = 50


class BoundedFormSet(BaseInlineFormSet[Any, Any, Any]):
    """At most `MOST` rows, whose run is known without a query each."""

    def get_queryset(self) -> Any:
        if not hasattr(self, "_rows"):
            self._rows = list(super().get_queryset()[:MOST])
            for row in self._rows:
                row.run = self.instance
        return self._rows


class ReadOnlyInline(admin.TabularInline[Any, Run]):
    """Rows that only services write."""

    formset = BoundedFormSet
    can_delete = False
    extra = 0
    max_num = 0
    fields: ClassVar[tuple[str, ...]] = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StageInline(ReadOnlyInline):
    model = Stage
    fields = ("position", "name", "label", "counts_as", "state", "current", "total", "planned", "unit", "weight")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stage]:
        return super().get_queryset(request).defer("readings", "totals")


class EventInline(ReadOnlyInline):
    model = Transition
    verbose_name_plural = f"The newest {MOST} events"
    fields = ("at", "stage", "old", "new", "note")
    ordering = ("-pk",)


class FailureInline(ReadOnlyInline):
    model = ItemFailure
    verbose_name_plural = f"The newest {MOST} failed items"
    fields = ("at", "stage", "item", "reason")
    ordering = ("-pk",)
