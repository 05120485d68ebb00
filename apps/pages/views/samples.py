"""A sample's page and its files, each behind the same question: may whoever asks see the dataset?"""

from __future__ import annotations

from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from apps.datasets.models import Sample
from apps.pages.access import visible_dataset
from apps.pipeline.images.media import original_file, thumbnail_file
from apps.pipeline.images.scanning import OutsideRoot
from apps.pipeline.images.similar import similar_to
from apps.progress.selectors import progress_of

# The formats that every browser shows. The type sent is that of the content as it was verified, not of the name.
SHOWN_TYPES: Final = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
}  # fmt: skip


# Samples that the gallery shows before the one that it is left to: half a page.
BEFORE: Final = 30


def _sample(request: HttpRequest, dataset_id: str, pk: int) -> Sample:
    dataset = visible_dataset(request, dataset_id)
    return get_object_or_404(Sample.objects.select_related("dataset"), dataset=dataset, pk=pk)


@require_safe
def detail(request: HttpRequest, dataset_id: str, pk: int) -> HttpResponse:
    """A sample: large, its facts, and its neighbours in the gallery.

    What looks like it is asked for by the page itself (``?similar``): among a million samples it takes seconds.
    """
    sample = _sample(request, dataset_id, pk)
    wants_similar = "similar" in request.GET
    context = {"dataset": sample.dataset, "sample": sample, "wants_similar": wants_similar}
    if wants_similar:
        context["similar"] = similar_to(sample)
    if request.headers.get("HX-Request"):
        return render(request, "pages/sample.html#similar", context)
    siblings = Sample.objects.filter(dataset=sample.dataset)
    before = list(siblings.filter(pk__lt=sample.pk).order_by("-pk")[: BEFORE + 1])
    return render(request, "pages/sample.html", context | {
        "progress": progress_of(sample.dataset_id),
        "previous": before[0] if before else None,
        "next": siblings.filter(pk__gt=sample.pk).order_by("pk").first(),
        # The page of the gallery that has the sample in its middle.
        "gallery": f"?after={before[BEFORE].pk}" if before[BEFORE:] else "",
        "has_original": (has_original := _has_original(sample)),
        "shows_original": sample.format in SHOWN_TYPES and has_original,
    })  # fmt: skip


def _has_original(sample: Sample) -> bool:
    """Whether the file of a sample is still there."""
    try:
        original_file(sample)
    except (OSError, OutsideRoot):
        return False
    return True


def _bytes(content: bytes, content_type: str, cache: str) -> HttpResponse:
    """Bytes that came from elsewhere: shown as what they were verified to be, and able to do nothing.

    They are sent whole: Django reads a file response whole under ASGI anyway, and warns about it.
    """
    response = HttpResponse(content, content_type=content_type)
    response.headers["Cache-Control"] = cache
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@require_safe
def thumbnail(request: HttpRequest, dataset_id: str, pk: int) -> HttpResponse:
    """The thumbnail. Its address carries the content's hash, so a browser asks for it once."""
    sample = _sample(request, dataset_id, pk)
    try:
        content = thumbnail_file(sample).read_bytes()
    except OSError:
        raise Http404 from None
    return _bytes(content, "image/jpeg", "private, max-age=31536000, immutable")


@require_safe
def original(request: HttpRequest, dataset_id: str, pk: int) -> HttpResponse:
    """The file itself, to be shown where browsers can, else to be saved."""
    sample = _sample(request, dataset_id, pk)
    try:
        content = original_file(sample).read_bytes()
    except (OSError, OutsideRoot):
        raise Http404 from None
    shown = sample.format in SHOWN_TYPES
    response = _bytes(content, SHOWN_TYPES.get(sample.format, "application/octet-stream"), "private, max-age=300")
    name = sample.path.rsplit("/", 1)[-1]
    response.headers["Content-Disposition"] = content_disposition_header(not shown, name) or "inline"
    return response
