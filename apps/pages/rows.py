"""What moves in a dataset's row, rendered once for all lists and once for all sockets that show it."""

from __future__ import annotations

from typing import Final

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.progress.snapshot import DatasetProgress

from . import words
from .amounts import rate
from .components import bar_of

# Rows in the cache, 2 KB each.
MOST_KEPT: Final = 2_000

_kept: Final[dict[tuple[object, ...], SafeString]] = {}


def row_html(progress: DatasetProgress, *, oob: bool) -> SafeString:
    """Return the row of a dataset; with ``oob`` as an out-of-band fragment for htmx.

    The key holds all that changes the row: beside the version, for a finished run the words for how long ago it ended,
    for an unfinished one the second.
    """
    key = (progress.dataset_id, progress.epoch, progress.version, progress.vitals, _age(progress), oob)
    html = _kept.get(key)
    if html is None:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        speed = rate(progress.rate, progress.stage.unit if progress.stage else "items") if progress.rate else ""
        context = {"progress": progress, "bar": bar_of(progress), "rate": speed, "oob": oob}
        html = _kept[key] = render_to_string("components/row.html", context)
    return html


def _age(progress: DatasetProgress) -> str | int:
    """Return what of the time the row depends on."""
    now = timezone.now()
    if progress.finished_at is not None:
        return words.relative(timezone.localtime(progress.finished_at), now)
    return int(now.timestamp()) if progress.run is not None else 0
