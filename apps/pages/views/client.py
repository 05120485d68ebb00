"""The client, for `pip install`."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from apps.pages.client import client_wheel


@require_safe
def wheel(request: HttpRequest, name: str) -> HttpResponse:
    """The wheel of the client that belongs to this server."""
    built = client_wheel()
    if name != built.name:
        raise Http404
    return HttpResponse(built.content, content_type="application/zip")
