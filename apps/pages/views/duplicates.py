"""The page of a dataset's near-duplicates."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.pages.access import visible_dataset
from apps.pages.near_duplicates import groups_page
from apps.progress.selectors import progress_of

# The similarities that the page offers to begin with.
CHOICES: Final = ("0.97", "0.98", "0.99", "0.995", "0.999")


@require_safe
def index(request: HttpRequest, dataset_id: str) -> HttpResponse:
    """Show groups of samples that are at least ``from`` similar, a few on each page."""
    dataset = visible_dataset(request, dataset_id)
    chosen = request.GET.get("from", "")
    score = float(chosen) if chosen in CHOICES else 0.0
    return render(request, "pages/dataset_duplicates.html", {
        "dataset": dataset,
        "progress": progress_of(dataset.pk),
        "page": groups_page(dataset, score, request.GET.get("after", "")),
        "choices": CHOICES,
        "chosen": chosen if score else "",
        "keep": f"from={chosen}&" if score else "",
    })  # fmt: skip
