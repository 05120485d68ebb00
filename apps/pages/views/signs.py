"""The icon of a browser's tab, and the badge of a dataset."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.templatetags.static import static
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.http import require_safe

from apps.datasets.access.rules import Caller
from apps.pages import signs
from apps.progress.facts import vitals_of, vitals_word
from apps.progress.selectors import facts_for
from apps.progress.snapshot import snapshot

SVG = "image/svg+xml"


@login_not_required  # it tells nothing of any dataset
@require_safe
def icon(request: HttpRequest, name: str) -> HttpResponse:
    """Serve the icon of a state and a percentage, for a tab."""
    drawn = signs.icon(name)
    if drawn is None:
        raise Http404
    return HttpResponse(drawn, content_type=SVG, headers={"Cache-Control": "public, max-age=604800"})


@login_not_required
@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon of the site. Browsers ask for it here where an answer names none: JSON, an image."""
    return redirect(static("favicon.svg"))


@login_not_required  # a page elsewhere shows it to people who are not signed in here; who may see what is asked below
@require_safe
def badge(request: HttpRequest, dataset_id: str) -> HttpResponseBase:
    """Serve the badge of a dataset that the user may see. One query."""
    facts = facts_for(Caller(request.user), dataset_id)
    if facts is None:
        raise Http404
    now = timezone.now()
    etag = quote_etag(f"{facts.epoch}-{facts.version}-{vitals_word(*vitals_of(facts, now))}")
    unchanged = get_conditional_response(request, etag=etag)
    response = unchanged or HttpResponse(signs.badge(snapshot(facts, now)), content_type=SVG)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Cookie"
    return response
