"""The client package, for `pip install`."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from apps.pages.client import client_wheel


@login_not_required  # pip cannot sign in, and the package is the same for everyone
@require_safe
def wheel(request: HttpRequest, name: str) -> HttpResponse:
    """Serve the wheel of the client that belongs to this server. Its name tells pip the version."""
    built = client_wheel()
    if built is None or name != built.name:
        raise Http404
    return HttpResponse(built.read_bytes(), content_type="application/zip")
