"""The representations in which a change goes out: each is encoded once, whatever the number of watchers."""

from __future__ import annotations

from enum import Enum

from django.template.loader import render_to_string

from apps.progress.snapshot import DatasetProgress


class Form(Enum):
    """What a watcher reads."""

    JSON = "json"  # DESIGN 2.4's `progress_update`
    HTML = "html"  # fragments that htmx swaps into the dataset page


def encode(progress: DatasetProgress, form: Form, *, awake: bool) -> str:
    """A text frame that says ``progress``.

    ``awake``: the page may be resting on a finished run. An HTML frame then carries the header as well, whose polling
    begins again.
    """
    if form is Form.JSON:
        return f'{{"type":"progress_update","payload":{progress.model_dump_json()}}}'
    html = render_to_string("components/live.html", {"progress": progress})
    if awake and not progress.is_finished:
        html += render_to_string("components/live_new_run.html", {"progress": progress})
    return html
