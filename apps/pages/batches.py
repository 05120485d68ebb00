"""What the pages show of a batch: its bar, a segment for the datasets of each state, and its line of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.text import capfirst

from apps.batches.progress import BatchProgress, BatchSegment
from apps.progress.percentage import whole_of
from apps.progress.transitions import State

from .amounts import plural
from .components import LOOKS, Look
from .words import time_left

# The largest segment grows by so much; the stylesheet has a class for each whole number up to it.
_WIDEST: Final = 100
_WORDS: Final = {
    State.READY: "ready", State.EMBEDDING: "generating embeddings", State.INDEXING: "indexing", State.ERROR: "failed",
    State.PENDING: "waiting",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """The part of a bar that stands for the datasets of one state. ``grow``: how many beside the others."""

    look: Look
    grow: int
    fill: int
    words: str

    @property
    def grow_class(self) -> str:
        return f"grow-{self.grow}"

    @property
    def fill_class(self) -> str:
        return f"scale-x-{self.fill}"


@dataclass(frozen=True, slots=True)
class BatchBar:
    """The bar of a batch. ``figure``: its percentage, empty where it has none."""

    segments: tuple[SegmentPart, ...]
    words: str
    percent: int
    figure: str


@dataclass(frozen=True, slots=True)
class BatchPanel:
    """What the page of a batch shows of it, in the colours of its state. ``label``: how it is, in a word."""

    bar: BatchBar
    label: str
    look: Look
    sentence: str


def batch_panel_of(progress: BatchProgress) -> BatchPanel:
    """Return the panel of a batch."""
    is_still = progress.paused or progress.cancelled
    return BatchPanel(
        bar=_bar(progress.segments, progress.percent),
        label=batch_label(progress),
        look=LOOKS[State.PENDING if is_still else progress.state],
        sentence=batch_sentence(progress),
    )


def batch_bar_of_segments(segments: Sequence[BatchSegment]) -> BatchBar:
    """Return the bar of a batch of which the segments alone are known."""
    total = sum(one.datasets for one in segments)
    return _bar(segments, sum(one.percent * one.datasets for one in segments) / total if total else None)


def _bar(segments: Sequence[BatchSegment], percent: float | None) -> BatchBar:
    widest = max((one.datasets for one in segments), default=1)
    parts = tuple(
        SegmentPart(
            look=LOOKS[State.PENDING if one.still else one.state],
            grow=max(round(_WIDEST * one.datasets / widest), 1),
            # A segment of datasets that failed shows that they did, and not how far they came.
            fill=100 if one.state in (State.ERROR, State.READY) else whole_of(one.percent),
            words=f"{one.datasets:,} {_word(one)}",
        )
        for one in segments
    )
    shown = whole_of(percent) if percent is not None else 0
    return BatchBar(
        parts,
        ", ".join(part.words for part in parts) or "No datasets",
        shown,
        f"{shown}%" if percent is not None else "",
    )


def _word(segment: BatchSegment) -> str:
    if segment.still:
        return "cancelled" if segment.state is State.ERROR else "paused"
    return _WORDS[segment.state]


def batch_label(progress: BatchProgress) -> str:
    """Return how a batch is, in a word or two."""
    if not progress.total:
        return "No datasets"
    if progress.paused:
        return "Paused"
    if progress.cancelled:
        return "Cancelled"
    if progress.is_working:
        return "Running" if progress.is_moving else "Attention"
    return {State.READY: "Ready", State.ERROR: "Failed", State.PENDING: "Waiting"}[progress.state]


def batch_sentence(progress: BatchProgress) -> str:
    """Return what neither the bar of a batch nor the counts by group say: the time left, and failed items."""
    left = f"{time_left(progress.eta_seconds)} left" if progress.eta_seconds is not None else ""
    failed = f"{plural(progress.failed, 'items')} failed" if progress.failed else ""
    line = ", ".join(part for part in (left, failed) if part)
    return capfirst(line)
