"""The representations in which a change goes out: each is encoded once, whatever the number of watchers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django.template.loader import render_to_string

from apps.progress.snapshot import DatasetProgress


class Form(StrEnum):
    """What a watcher reads."""

    JSON = "json"  # DESIGN 2.4's `progress_update`
    PANEL = "panel"  # the live panel of a dataset's page, for htmx to swap
    ROW = "row"  # what moves in the dataset's row of the list, for htmx to swap

    @property
    def is_html(self) -> bool:
        return self is not Form.JSON

    @property
    def has_header(self) -> bool:
        """Whether the page that reads it has a header that shows the dataset."""
        return self is Form.PANEL


# What pages are told besides: comments, which htmx would swap nowhere.
KEEPALIVE = "<!-- here -->"
NEW_DATASET = "<!-- new dataset -->"
GONE_ROW = "<!-- gone -->"

_TEMPLATES = {Form.PANEL: "components/live.html", Form.ROW: "components/live_row.html"}


def message(text: str) -> dict[str, Any]:
    """A text frame as the ASGI server takes it."""
    return {"type": "websocket.send", "text": text}


def watched_by(watchers: int) -> str:
    """Tells pages by how many of them what is not pushed will be fetched, so that they spread their requests."""
    return f"<!-- watchers {watchers} -->"


def encode(progress: DatasetProgress, form: Form, *, awake: bool, watchers: int) -> str:
    """A text frame that says ``progress`` to so many ``watchers``.

    ``awake``: the page may be resting on a finished run. A form that has a header then carries it as well, and its
    polling begins again.
    """
    if form is Form.JSON:
        return f'{{"type":"progress_update","payload":{progress.model_dump_json()}}}'
    html = render_to_string(_TEMPLATES[form], {"progress": progress})
    if awake and form.has_header and not progress.is_finished:
        # First: where the panel comes first, the page asks for the header that is still behind it.
        html = render_to_string("components/live_new_run.html", {"progress": progress}) + html
    return html + watched_by(watchers)
