"""Filters of the admin's lists of datasets and runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.progress import selectors
from apps.progress.health import WORDS, Health
from apps.progress.transitions import State


class StateFilter(admin.SimpleListFilter):
    """The state of a dataset's latest run. A dataset that never ran is pending."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value.capitalize()) for state in State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = next((state for state in State if state == self.value()), None)
        return queryset if state is None else selectors.in_state(queryset, state)


class HealthFilter(admin.SimpleListFilter):
    """The health of what is under way, at this moment. It looks at the newest runs that are, as `health_of_newest`."""

    title = "health"
    parameter_name = "health"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(health.value, WORDS.get(health, "Live")) for health in Health]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in list(Health):
            return queryset
        found = selectors.health_of_newest(timezone.now())
        return queryset.filter(pk__in=[self.row_of(run) for run, health in found if health == self.value()])

    def row_of(self, run: Any) -> int:
        """Return the row id of what the list shows, of a run."""
        return int(run.pk)


class DatasetHealthFilter(HealthFilter):
    def row_of(self, run: Any) -> int:
        return int(run.dataset_id)


class TypedFilter(admin.SimpleListFilter):
    """A name that is typed, since a site may have thousands of them. What it finds is found by an index."""

    template = "admin/progress/text_filter.html"
    lookup: ClassVar[str]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]  # else it is not shown

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = (self.value() or "").replace("\0", "").strip()
        return queryset.filter(**{self.lookup: name}) if name else queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield what the template shows: the name that is chosen, and what else the list is narrowed by."""
        kept = {name: values[-1] for name, values in changelist.filter_params.items() if name != self.parameter_name}
        if changelist.query:
            kept["q"] = changelist.query
        yield {"name": self.parameter_name, "value": self.value() or "", "kept": kept.items(), "selected": False}


class OwnerFilter(TypedFilter):
    """The owner, by the name of the account."""

    title = "owner"
    parameter_name = "owner"
    lookup = "owner__username"


class RunOwnerFilter(OwnerFilter):
    title = "owner of the dataset"
    lookup = "dataset__owner__username"


class BatchFilter(TypedFilter):
    """A batch that the dataset is in, by its id."""

    title = "batch"
    parameter_name = "batch"
    lookup = "batch_memberships__batch__batch_id"


class RunBatchFilter(BatchFilter):
    title = "batch of the dataset"
    lookup = "dataset__batch_memberships__batch__batch_id"
