"""503: the server is too busy for a request, or its database does not answer. The client is asked to try again.

`OutageMiddleware` answers so where the database fails a view, and `progress_site.servers.threads` where there is no
place for a request.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import cache

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from apps.api.errors import error
from apps.core.outages import RETRY_AFTER_SECONDS, is_deadlock, is_outage

logger = logging.getLogger(__name__)

API: str = "/api/"


def unavailable(path: str, method: str) -> HttpResponse:
    """Return the answer: JSON under ``/api/``, a small page elsewhere. A browser asks for a page again by itself."""
    if path.startswith(API):
        response = error(503, "The server is busy, or its database does not answer. Try again in a moment.")
    else:
        is_asked_again = method in ("GET", "HEAD")
        response = HttpResponse(_page(is_asked_again), status=503)
        response["Content-Security-Policy"] = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
        if is_asked_again:
            response["Refresh"] = str(RETRY_AFTER_SECONDS)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


@cache
def _page(is_asked_again: bool) -> str:
    return render_to_string("503.html", {"is_asked_again": is_asked_again})


class OutageMiddleware(MiddlewareMixin):
    """Answers 503 where the database is locked, full or gone. After a deadlock, calls the view once more before."""

    def process_exception(self, request: HttpRequest, failure: Exception) -> HttpResponseBase | None:
        if is_deadlock(failure) and (match := request.resolver_match) is not None:
            try:
                answer: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
            except Exception as again:
                if not is_outage(again):
                    raise
                failure = again
            else:
                return answer
        if not is_outage(failure):
            return None
        return _told(request, failure)


def or_unavailable(handler500: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return a ``handler500`` that answers 503 where the database failed outside a view, say in a middleware."""

    def handler(request: HttpRequest) -> HttpResponseBase:
        failure = sys.exc_info()[1]
        return _told(request, failure) if failure is not None and is_outage(failure) else handler500(request)

    return handler


def _told(request: HttpRequest, failure: BaseException) -> HttpResponse:
    logger.warning("%s %s: answered 503: %s", request.method, request.path, " ".join(str(failure).split()))
    return unavailable(request.path, request.method or "")
