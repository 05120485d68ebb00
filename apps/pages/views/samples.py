"""A sample's page and its files. Each checks that the user may see the dataset."""

from __future__ import annotations

from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from apps.core.beneath import OutsideFolder
from apps.datasets.models import Sample
from apps.pages.access import visible_dataset
from apps.pages.files import file_response
from apps.pages.gallery import copies_of, place_of
from apps.pipeline.images.media import open_original, open_thumbnail
from apps.pipeline.images.similar import similar_to
from apps.progress.selectors import progress_of

# The formats that every browser can show. The format was found in the file's content, not in its name.
SHOWN_TYPES: Final = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "AVIF": "image/avif", "ICO": "image/x-icon",
}  # fmt: skip


def _sample(request: HttpRequest, dataset_id: str, pk: int) -> Sample:
    dataset = visible_dataset(request, dataset_id)
    return get_object_or_404(Sample.objects.select_related("dataset"), dataset=dataset, pk=pk)


@require_safe
def detail(request: HttpRequest, dataset_id: str, pk: int) -> HttpResponse:
    """Show a sample with its facts and neighbours.

    The page fetches similar images itself (``?similar``), because finding them among a million samples takes seconds.
    """
    sample = _sample(request, dataset_id, pk)
    wants_similar = "similar" in request.GET
    context = {"dataset": sample.dataset, "sample": sample, "wants_similar": wants_similar}
    if wants_similar:
        context["similar"] = similar_to(sample)
    if request.headers.get("HX-Request"):
        return render(request, "pages/sample.html#similar", context)
    has_original = _has_original(sample)
    return render(request, "pages/sample.html", context | {
        "progress": progress_of(sample.dataset_id),
        "place": place_of(sample),
        "copies": copies_of(sample),
        "has_original": has_original,
        "shows_original": sample.format in SHOWN_TYPES and has_original,
    })  # fmt: skip


def _has_original(sample: Sample) -> bool:
    """Return whether the file of a sample still exists."""
    try:
        open_original(sample).close()
    except (OSError, OutsideFolder):
        return False
    return True


@require_safe
def thumbnail(request: HttpRequest, dataset_id: str, pk: int) -> HttpResponseBase:
    """Serve the thumbnail. Its address holds the content's hash, so browsers may cache it for ever."""
    sample = _sample(request, dataset_id, pk)
    try:
        file = open_thumbnail(sample)
    except (OSError, OutsideFolder):
        raise Http404 from None
    cache = "private, max-age=31536000, immutable"
    return file_response(request, file, {"Content-Type": "image/jpeg", "Cache-Control": cache})


@require_safe
def original(request: HttpRequest, dataset_id: str, pk: int) -> HttpResponseBase:
    """Serve the file itself: inline where browsers can show it, else as a download."""
    sample = _sample(request, dataset_id, pk)
    try:
        file = open_original(sample)
    except (OSError, OutsideFolder):
        raise Http404 from None
    is_shown = sample.format in SHOWN_TYPES
    name = sample.path.rsplit("/", 1)[-1]
    return file_response(request, file, {
        "Content-Type": SHOWN_TYPES.get(sample.format, "application/octet-stream"),
        "Cache-Control": "private, max-age=300",
        "Content-Disposition": content_disposition_header(not is_shown, name) or "inline",
    })  # fmt: skip
