"""What pages ask for again and again: the header's element and the live panel.

An unchanged version is answered after one small query, with 204 and no rendering.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.datasets.models import Dataset
from apps.pages.panel import panel_of
from apps.progress.selectors import progress_of
from apps.progress.snapshot import DatasetProgress


def _visible(request: HttpRequest, key: str) -> tuple[int, int]:
    """The row id and version of a dataset that whoever asks may see."""
    row = Dataset.objects.visible_to(request.user).filter(key=key).values_list("pk", "head__version").first()
    if row is None:
        raise Http404
    return row[0], row[1] or 0


def _progress(pk: int) -> DatasetProgress:
    try:
        return progress_of(pk)
    except Dataset.DoesNotExist:
        raise Http404 from None


def _answer(html: str | None) -> HttpResponse:
    response = HttpResponse(status=204) if html is None else HttpResponse(html)
    response.headers["Cache-Control"] = "no-store"
    return response


@require_safe
def header(request: HttpRequest, key: str) -> HttpResponse:
    """The header's element; 204 where ``v`` is the version still."""
    pk, version = _visible(request, key)
    if request.GET.get("v") == str(version):
        return _answer(None)
    return _answer(render_to_string("components/progress_header.html", {"progress": _progress(pk)}))


@require_safe
def bar(request: HttpRequest, key: str) -> HttpResponse:
    """The live panel; 204 where ``v`` is the version still and ``health``, which changes by itself, is what it was.

    Where ``run`` is given and a new one has begun, the header's element comes along and polls again.
    """
    pk, version = _visible(request, key)
    params = request.GET
    unchanged = params.get("v") == str(version)
    if unchanged and "health" not in params:
        return _answer(None)
    progress = _progress(pk)
    # Words of a run that is slow or worse say for how long: they are never the same.
    if unchanged and progress.health in (None, "live") and params["health"] == (progress.health or ""):
        return _answer(None)
    html = render_to_string("components/panel.html", {"panel": panel_of(progress, timezone.now())})
    if "run" in params and params["run"] != str(progress.run or 0):
        html += render_to_string("components/live_new_run.html", {"progress": progress})
    return _answer(html)
