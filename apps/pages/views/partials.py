"""The fragments that pages poll: the header's element and the live panel.

Each takes one query. An unchanged version is answered with 204, without rendering.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.datasets.access.rules import Caller
from apps.pages.panel import panel_of
from apps.progress.facts import Facts, health_of
from apps.progress.selectors import facts_for
from apps.progress.snapshot import snapshot


def _facts(request: HttpRequest, dataset_id: str) -> Facts:
    """Return the facts of a dataset that the user may see. Raises `Http404`."""
    facts = facts_for(Caller(request.user), dataset_id)
    if facts is None:
        raise Http404
    return facts


def _is_shown(request: HttpRequest, facts: Facts) -> bool:
    """Return whether the page shows these facts already: their version ``v`` of their ``epoch``."""
    return (request.GET.get("epoch"), request.GET.get("v")) == (facts.epoch, str(facts.version))


def _answer(*fragments: str) -> HttpResponse:
    """Return the fragments to swap in; a 204 if there are none."""
    # White space around a fragment would be left behind on the page.
    html = "".join(fragment.strip() for fragment in fragments)
    response = HttpResponse(html) if html else HttpResponse(status=204)
    response.headers["Cache-Control"] = "no-store"
    return response


@require_safe
def header(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Answer with the header's element; 204 if the page shows this version and ``health``, which time changes.

    Without ``health``, the version alone is looked at.
    """
    facts = _facts(request, dataset_id)
    now = timezone.now()
    health = health_of(facts, now) or ""
    if _is_shown(request, facts) and request.GET.get("health", health) == health:
        return _answer()
    progress = snapshot(facts, now)
    return _answer(render_to_string("components/progress_header.html", {"progress": progress}))


@require_safe
def bar(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Answer with the live panel; 204 if the page shows this version and ``health``, which time changes, is the same.

    If ``run`` is given and is not the latest run, the header's element comes along, so that it polls again.
    """
    facts = _facts(request, dataset_id)
    params = request.GET
    unchanged = _is_shown(request, facts)
    if unchanged and "health" not in params:
        return _answer()
    now = timezone.now()
    progress = snapshot(facts, now)
    # The panel of a run that is slow or worse says for how long, so it is never the same.
    if unchanged and progress.health in (None, "live") and params["health"] == (progress.health or ""):
        return _answer()
    fragments = [render_to_string("components/panel.html", {"panel": panel_of(progress)})]
    if "run" in params and params["run"] != str(progress.run or 0):
        fragments.append(render_to_string("components/live_header.html", {"progress": progress}))
    return _answer(*fragments)
