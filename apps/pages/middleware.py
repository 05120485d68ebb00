"""What pages answer where something was deleted after they had looked it up."""

from __future__ import annotations

from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from django.views.defaults import page_not_found


class DeletedMeanwhile(MiddlewareMixin):
    """Answer 404 where a view misses a row of ours. It was there when the view began."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, ObjectDoesNotExist) and type(exception).__module__.startswith("apps."):
            return page_not_found(request, exception)
        return None
