"""The gallery: a dataset's present samples in order of id, and the place of one sample in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.http import QueryDict

from apps.datasets.models import Dataset, Sample

from .cursor import CursorPage, requested_page

PAGE_SIZE: Final = 60
MOST_COPIES: Final = 12


@dataclass(frozen=True, slots=True)
class Place:
    """The neighbours of a sample, and the query string of the gallery page that has the sample in its middle."""

    previous: Sample | None
    next: Sample | None
    gallery: str


def gallery_page(dataset: Dataset, params: QueryDict) -> CursorPage[Sample]:
    """Return the page of the gallery that the query parameters ask for; with ``damaged``, of damaged samples alone."""
    samples = Sample.objects.present().filter(dataset=dataset)
    if "damaged" in params:
        samples = samples.exclude(damage="")
    return requested_page(samples, PAGE_SIZE, params)


def copies_of(sample: Sample) -> list[Sample]:
    """Return other present samples of the dataset with the same content, up to `MOST_COPIES`."""
    same = Sample.objects.present().filter(dataset=sample.dataset_id, sha256=sample.sha256)
    return list(same.exclude(pk=sample.pk).order_by("pk")[:MOST_COPIES])


def place_of(sample: Sample) -> Place:
    """Return the place of a sample in the gallery. Two queries."""
    samples = Sample.objects.present().filter(dataset=sample.dataset_id)
    half = PAGE_SIZE // 2
    before = list(samples.filter(pk__lt=sample.pk).order_by("-pk")[: half + 1])
    return Place(
        previous=before[0] if before else None,
        next=samples.filter(pk__gt=sample.pk).order_by("pk").first(),
        gallery=f"?after={before[half].pk}" if before[half:] else "",
    )
