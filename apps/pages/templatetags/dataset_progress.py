"""Template tags: the two progress components, and the parts of pages that are built from them.

``{% dataset_progress progress %}`` or ``{% dataset_progress state="indexing" current=45 total=100 %}``; the same with
``dataset_progress_compact``. They use neither the request nor the context, so they can be rendered anywhere.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.batches.progress import BatchProgress
from apps.pages import amounts, signs, words
from apps.pages.batches import batch_panel_of
from apps.pages.components import STATE_NAMES, Bar, bar_of, bar_of_props
from apps.pages.panel import panel_of, phase
from apps.pages.rows import row_html
from apps.pages.runs.page import result_of
from apps.progress.snapshot import DatasetProgress

register = template.Library()
register.filter("phase", phase)


def _bar(progress: DatasetProgress | None, props: dict[str, Any]) -> Bar:
    try:
        if isinstance(progress, DatasetProgress):
            if unknown := set(props) - {"class"}:
                raise ValueError(f"A DatasetProgress is given, so {', '.join(sorted(unknown))} cannot be given too.")
            return bar_of(progress, str(props.get("class") or ""))
        if progress not in (None, ""):
            raise ValueError(f"{progress!r} is not a DatasetProgress.")
        return bar_of_props(props)
    except ValueError as error:
        raise template.TemplateSyntaxError(str(error)) from error


@register.inclusion_tag("components/dataset_progress.html")
def dataset_progress(progress: DatasetProgress | None = None, **props: Any) -> dict[str, Any]:
    """Render the bar with its label, counter, message and error."""
    return {"bar": _bar(progress, props)}


@register.inclusion_tag("components/dataset_progress_compact.html")
def dataset_progress_compact(progress: DatasetProgress | None = None, **props: Any) -> dict[str, Any]:
    """Render the small bar with its label and percentage."""
    return {"bar": _bar(progress, props)}


@register.inclusion_tag("components/panel.html")
def dataset_panel(progress: DatasetProgress, *, oob: bool = False) -> dict[str, Any]:
    """Render the live panel of a dataset's page; with ``oob`` as an out-of-band fragment for htmx."""
    return {"panel": panel_of(progress), "oob": oob}


@register.inclusion_tag("components/progress_header.html")
def progress_header(progress: DatasetProgress, *, oob: bool = False) -> dict[str, Any]:
    """Render the header's element, which polls until the dataset is ready or in error."""
    return {"progress": progress, "oob": oob}


@register.inclusion_tag("components/batch_panel.html")
def batch_panel(progress: BatchProgress, *, oob: bool = False) -> dict[str, Any]:
    """Render the live panel of a batch's page; with ``oob`` as an out-of-band fragment for htmx."""
    return {"progress": progress, "panel": batch_panel_of(progress), "oob": oob}


@register.simple_tag
def moment(value: datetime | None) -> SafeString | str:
    """Render how long ago a time was, with the exact time in the tooltip."""
    if value is None:
        return "–"
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(timespec="seconds"),
        words.exact(local),
        words.relative(local, timezone.now()),
    )


@register.simple_tag
def done_about(progress: DatasetProgress | BatchProgress) -> SafeString | str:
    """Render the time of day at which a run will be done, in the middle of its estimate."""
    eta = progress.eta_seconds
    return clock(timezone.now() + timedelta(seconds=(eta.low + eta.high) / 2)) if eta else ""


@register.simple_tag
def dataset_row(progress: DatasetProgress, *, oob: bool = False) -> SafeString:
    """Render what moves in the dataset's row of the list; with ``oob`` as an out-of-band fragment for htmx."""
    return row_html(progress, oob=oob)


@register.simple_tag
def clock(value: datetime | None, seconds: str = "") -> SafeString | str:
    """Render a time of day, with the date if it is not today. The page's script puts it into the reader's time zone."""
    if value is None:
        return "–"
    local, today = timezone.localtime(value), timezone.localdate()
    text = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
    return format_html(
        '<time datetime="{}" title="{}" data-clock="{}">{}</time>',
        value.isoformat(timespec="seconds"),
        words.exact(local),
        "seconds" if seconds else "minutes",
        text if local.date() == today else f"{local:%-d %b %Y}, {text}",
    )


@register.simple_tag
def span(began: datetime, ended: datetime) -> str:
    """Render how long something took, in words."""
    return words.duration((ended - began).total_seconds())


@register.filter
def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


@register.simple_tag
def who(name: str) -> SafeString:
    """Render who did something. A long name is cut off, so that what stands beside it can be read."""
    return format_html('<span class="who" title="{0}">{0}</span>', words.named(name))


@register.filter
def sentence(progress: DatasetProgress) -> SafeString:
    """Render the line that describes a dataset. The page's script keeps the time in it up to date."""
    return _with_silence(progress, words.sentence(progress, silence="\0"))


@register.filter
def in_a_row(progress: DatasetProgress) -> SafeString:
    """Render what the list says of a dataset beside its bar."""
    return _with_silence(progress, words.in_a_row(progress, silence="\0"))


def _with_silence(progress: DatasetProgress, text: str) -> SafeString:
    before, mark, after = text.partition("\0")
    if not mark:
        return format_html("{}", before)
    since = progress.silent_since or progress.updated_at
    return format_html(
        '{}<time datetime="{}" data-elapsed>{}</time>{}',
        before,
        since.isoformat(timespec="seconds"),
        words.duration((timezone.now() - since).total_seconds()),
        after,
    )


register.filter("condition", words.condition)
register.filter("extent", words.extent)
register.filter("icon_name", signs.icon_name)
register.filter("title_prefix", signs.title_prefix)
register.filter("result", result_of)


@register.filter
def state_name(word: str) -> str:
    """Return the name of a state of a run or of a stage, or of a request such as ``pause``."""
    return next((name for state, name in STATE_NAMES.items() if state == word), word.capitalize())


@register.filter
def thousands(number: int) -> str:
    """Return a number with its thousands separated: ``12,345``."""
    return f"{number:,}"


@register.filter
def file_size(count: int) -> str:
    return amounts.size(count)


@register.simple_tag
def count(number: int, noun: str) -> str:
    """Render a number with its noun, which is given in the plural."""
    return amounts.plural(number, noun)
