"""From facts to messages: reads datasets in one query and encodes each form that is watched once.

The same message then goes to every watcher of that form, however many there are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone

from apps.progress.facts import Facts
from apps.progress.health import Health
from apps.progress.selectors import facts_of
from apps.progress.snapshot import DatasetProgress, snapshot

from .limits import count_connections

logger = logging.getLogger(__name__)

# A message of the ASGI server: a text frame, or a close.
Message = dict[str, Any]


class Form(StrEnum):
    """What a watcher reads."""

    JSON = "json"  # the `progress_update` of the API's sockets
    PANEL = "panel"  # the live panel of a dataset's page, for htmx to swap
    ROW = "row"  # the moving parts of the dataset's row in the list, for htmx to swap

    @property
    def is_html(self) -> bool:
        return self is not Form.JSON


# Further messages to pages. They are HTML comments, so htmx swaps nothing.
KEEPALIVE = "<!-- here -->"
NEW_DATASET = "<!-- new dataset -->"
GONE_ROW = "<!-- gone -->"

_TEMPLATES = {Form.PANEL: "components/live.html", Form.ROW: "components/live_row.html"}


@dataclass(frozen=True, slots=True)
class RenderedState:
    """What a message shows of a dataset. Health and silence change with time alone, so they are no facts."""

    facts: Facts
    health: Health | None
    silent_workers: int = 0

    @property
    def display_key(self) -> tuple[object, ...]:
        """Equal keys mean that the messages show the same."""
        return self.facts.key, self.health, self.silent_workers

    def looks_like(self, other: RenderedState | None) -> bool:
        """Whether a message of the ``other`` state would show the same."""
        return other is not None and self.display_key == other.display_key


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What to encode of a dataset: an update for watchers who know the ``sent`` state, a first message for new ones."""

    forms: frozenset[Form]
    new_forms: frozenset[Form]
    sent: RenderedState | None
    watchers: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """A dataset as it was just read. ``updates`` is empty where the state looks as it did when it was sent."""

    state: RenderedState
    updates: dict[Form, Message]
    first_messages: dict[Form, Message]


def render(requests: Mapping[int, RenderRequest]) -> dict[int, Rendered | None]:
    """Read the requested datasets, by row id, in one query, and encode them.

    A dataset that does not exist is left out. One that cannot be encoded is None, so that it holds up no other.
    """
    now = timezone.now()
    rendered: dict[int, Rendered | None] = {}
    for dataset_pk, facts in facts_of(requests).items():
        try:
            rendered[dataset_pk] = _render_dataset(facts, requests[dataset_pk], now)
        except Exception:
            logger.debug("dataset %s cannot be encoded", dataset_pk, exc_info=True)
            rendered[dataset_pk] = None
    return rendered


def _render_dataset(facts: Facts, request: RenderRequest, now: datetime) -> Rendered:
    progress = snapshot(facts, now)
    state = RenderedState(facts, progress.health, progress.workers.silent)

    @cache
    def message(form: Form) -> Message:
        return text_message(encode(progress, form, watchers=request.watchers))

    updates = {}
    if request.sent is not None and not state.looks_like(request.sent):
        updates = {form: message(form) for form in request.forms}
    first_messages = {form: message(form) for form in request.new_forms}
    return Rendered(state, updates, first_messages)


def encode(progress: DatasetProgress, form: Form, *, watchers: int) -> str:
    """Return the text frame that shows ``progress`` to this many ``watchers``.

    The panel comes with the page's header, so that the two never disagree.
    """
    if form is Form.JSON:
        return f'{{"type":"progress_update","payload":{progress.model_dump_json()}}}'
    html = render_to_string(_TEMPLATES[form], {"progress": progress})
    if form is Form.PANEL:
        # The header comes first: after the panel alone, the page would fetch the header that is still on its way.
        html = render_to_string("components/live_header.html", {"progress": progress}) + html
    return html + watchers_comment(watchers)


def watchers_comment(watchers: int) -> str:
    """Return the comment that tells pages how many they are, so that they spread their requests for the rest."""
    return f"<!-- watchers {watchers} -->"


def keepalive() -> str:
    """Return the comment that shows a page that its connection is alive, and how many sockets the process has.

    When they are lost all at once, the pages spread their new ones over the time that the server takes for so many.
    """
    return f"{KEEPALIVE}<!-- sockets {count_connections()} -->"


def text_message(text: str) -> Message:
    """Return a text frame as the ASGI server takes it."""
    return {"type": "websocket.send", "text": text}
