"""The fragments that pages poll: the header's element and the live panel.

Each takes one query. An unchanged version is answered with 204, without rendering.
"""

from __future__ import annotations

from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.datasets.access.rules import Caller
from apps.pages.panel import panel_of
from apps.progress.facts import Facts, Vitals, vitals_of, vitals_word
from apps.progress.health import Health
from apps.progress.polls import UNCHANGED, note_facts
from apps.progress.selectors import facts_for
from apps.progress.snapshot import snapshot

# Variants of an answer, besides `UNCHANGED`.
CHANGED: Final = "changed"
NEW_RUN: Final = "new run"


def header_variant(params: QueryDict, facts: Facts, vitals: Vitals) -> str:
    """Return which answer the header's request gets: all that get the same one are answered alike.

    ``vitals``: `vitals_of` the facts. `UNCHANGED` where the page shows this version and ``health``, which time changes.
    Without ``health``, the version alone is looked at.
    """
    if not _is_shown(params, facts):
        return CHANGED
    health = vitals[0] or ""
    return UNCHANGED if params.get("health", health) == health else CHANGED


def bar_variant(params: QueryDict, facts: Facts, vitals: Vitals) -> str:
    """Return the same for the panel's request. `NEW_RUN`: ``run`` is not the latest, so the header comes along."""
    if _is_shown(params, facts):
        health, silent = vitals
        # The panel of a run that is slow or worse says for how long, so it is never the same.
        is_same = health in (None, Health.LIVE) and params.get("health") == vitals_word(health, silent)
        if "health" not in params or is_same:
            return UNCHANGED
    run_number = facts.run.number if facts.run else 0
    return NEW_RUN if "run" in params and params["run"] != str(run_number) else CHANGED


def _is_shown(params: QueryDict, facts: Facts) -> bool:
    """Return whether the page shows these facts already: their version ``v`` of their ``epoch``."""
    return (params.get("epoch"), params.get("v")) == (facts.epoch, str(facts.version))


def _facts(request: HttpRequest, dataset_id: str) -> Facts:
    """Return the facts of a dataset that the user may see. Raises `Http404`."""
    facts = facts_for(Caller(request.user), dataset_id)
    if facts is None:
        raise Http404
    return facts


def _answer(*fragments: str) -> HttpResponse:
    """Return the fragments to swap in; a 204 if there are none."""
    # White space around a fragment would be left behind on the page.
    html = "".join(fragment.strip() for fragment in fragments)
    response = HttpResponse(html) if html else HttpResponse(status=204)
    response.headers["Cache-Control"] = "no-store"
    return response


@require_safe
def header(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Answer with the header's element; 204 if the page shows it already."""
    facts = _facts(request, dataset_id)
    now = timezone.now()
    note_facts(request, facts, now)
    if header_variant(request.GET, facts, vitals_of(facts, now)) == UNCHANGED:
        return _answer()
    progress = snapshot(facts, now)
    return _answer(render_to_string("components/progress_header.html", {"progress": progress}))


@require_safe
def bar(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Answer with the live panel, and after a new run with the header's element, so that it polls again.

    204 if the page shows the panel already.
    """
    facts = _facts(request, dataset_id)
    now = timezone.now()
    note_facts(request, facts, now)
    variant = bar_variant(request.GET, facts, vitals_of(facts, now))
    if variant == UNCHANGED:
        return _answer()
    progress = snapshot(facts, now)
    fragments = [render_to_string("components/panel.html", {"panel": panel_of(progress)})]
    if variant == NEW_RUN:
        fragments.append(render_to_string("components/live_header.html", {"progress": progress}))
    return _answer(*fragments)
