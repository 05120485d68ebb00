"""What tells how far a dataset is outside of its page: the title and icon of a browser's tab, and a badge, as SVG."""

from __future__ import annotations

import re
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.progress.snapshot import DatasetProgress

from .components import bar_of, is_held

# An icon for each of so many percent: a browser fetches at most 21 for a run.
STEP: Final = 5
_RING: Final = 44  # the circumference of the ring
_COLOURS: Final = {
    "pending": "#9ca3af", "indexing": "#3b82f6", "embedding": "#a855f7", "ready": "#22a565", "error": "#e5484d",
    "paused": "#9ca3af", "cancelled": "#9ca3af",
}  # fmt: skip
_MARKS: Final = {
    "ready": "m6 10.5 2.8 2.8L14.4 7", "error": "m6.8 6.8 6.4 6.4m0-6.4-6.4 6.4", "cancelled": "m6 14 8-8",
}  # fmt: skip
_PREFIXES: Final = {"ready": "✓ ", "error": "✕ ", "cancelled": "✕ "}
_NAME: Final = re.compile(r"([a-z]+)(?:-([0-9]{1,3}))?")

# Of a badge: the width of a letter of its font, on the average, and of the space around a text; the longest text.
_LETTER, _SPACE, _LONGEST = 6.6, 12, 48
_TEXTS: Final = {"#9ca3af": "#111827"}  # on a light ground; else white
_BADGE_COLOURS: Final = {
    **_COLOURS, "indexing": "#2563eb", "embedding": "#9333ea", "ready": "#15803d", "error": "#c62828",
}  # fmt: skip


def word_of(progress: DatasetProgress) -> str:
    """Return the state of a dataset as signs show it: one of the five, ``paused`` or ``cancelled``."""
    if progress.cancelled:
        return "cancelled"
    return "paused" if is_held(progress) and not progress.is_finished else progress.state.value


def percent_of(progress: DatasetProgress) -> int | None:
    """Return how far a run under way is, in percent: the whole of it where that is known, else its stage."""
    bar = bar_of(progress)
    return bar.fill if progress.is_working and not bar.indeterminate else None


def title_prefix(progress: DatasetProgress) -> str:
    """Return what stands before the title of a page of a dataset: ``46% · ``, a check, a cross."""
    percent = percent_of(progress)
    return _PREFIXES.get(word_of(progress), "" if percent is None else f"{percent}% · ")


def icon_name(progress: DatasetProgress) -> str:
    """Return the name of a dataset's icon: ``embedding-45``, ``ready``."""
    word, percent = word_of(progress), percent_of(progress)
    return word if percent is None else f"{word}-{percent // STEP * STEP}"


def icon(name: str) -> SafeString | None:
    """Return the icon of a name: a ring that fills, or a disc with a mark; None if there is no such name."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _COLOURS or int(match[2] or 0) > 100:
        return None
    word, colour = match[1], _COLOURS[match[1]]
    if word in _MARKS:
        drawn = format_html(
            '<circle cx="10" cy="10" r="9.5" fill="{}"/><path d="{}" fill="none" stroke="#fff" stroke-width="2.2" '
            'stroke-linecap="round"/>',
            colour,
            _MARKS[word],
        )
    else:
        drawn = format_html(
            '<g fill="none" stroke-width="5" transform="rotate(-90 10 10)"><circle cx="10" cy="10" r="7" '
            'stroke="#9ca3af" opacity=".45"/><circle cx="10" cy="10" r="7" stroke="{}" stroke-dasharray="{} {}"/></g>',
            colour,
            f"{_RING * int(match[2] or 0) / 100:.1f}",
            _RING,
        )
    return _svg(20, 20, drawn)


def badge(progress: DatasetProgress) -> SafeString:
    """Return a badge for a README: the dataset's id, and its percentage or its state."""
    word, percent = word_of(progress), percent_of(progress)
    right = word if percent is None else f"{word} {percent}%"
    left = progress.dataset_id if len(progress.dataset_id) <= _LONGEST else f"{progress.dataset_id[: _LONGEST - 1]}…"
    left_width, right_width = (round(len(text) * _LETTER) + _SPACE for text in (left, right))
    width, colour = left_width + right_width, _BADGE_COLOURS[word]
    drawn = format_html(
        '<title>{left}: {right}</title><clipPath id="c"><rect width="{width}" height="20" rx="3"/></clipPath>'
        '<g clip-path="url(#c)"><rect width="{width}" height="20" fill="#3f3f46"/>'
        '<rect x="{left_width}" width="{right_width}" height="20" fill="{colour}"/></g>'
        '<g font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        '<text x="{left_middle}" y="14" fill="#fff">{left}</text>'
        '<text x="{right_middle}" y="14" fill="{text}">{right}</text></g>',
        left=left, right=right, width=width, left_width=left_width, right_width=right_width, colour=colour,
        text=_TEXTS.get(colour, "#fff"), left_middle=left_width / 2, right_middle=left_width + right_width / 2,
    )  # fmt: skip
    return _svg(width, 20, drawn)


def _svg(width: int, height: int, drawn: SafeString) -> SafeString:
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}">{2}</svg>',
        width,
        height,
        mark_safe(drawn),  # noqa: S308 -- made by format_html above
    )
