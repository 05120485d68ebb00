"""A health check for load balancers and monitors."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


@login_not_required
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Answer 200 if this process and its database work, and 503 if the database does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        answer = HttpResponse("no database", status=503, content_type="text/plain")
    else:
        answer = HttpResponse("ok", content_type="text/plain")
    answer.headers["Cache-Control"] = "no-store"
    return answer
