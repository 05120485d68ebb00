"""What the admin of several apps has in common."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import Http404, HttpRequest


class PartialSave[M: Model](admin.ModelAdmin[M]):
    """Save only the columns that the form has changed.

    Django writes all of them, with the values that they had when the form was checked. A run or a worker may have
    changed those that are not in the form. A row that was deleted meanwhile is not found.
    """

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        columns = {field.name for field in obj._meta.concrete_fields}
        try:
            obj.save(update_fields=columns.intersection(form.changed_data))
        except obj.NotUpdated:
            raise Http404 from None
