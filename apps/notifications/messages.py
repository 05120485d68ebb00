"""What is said of events: a title and a text for people, and JSON for programs. Pure functions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from apps.progress.events import EventKind

from .models import Event

WORDS: Final = {
    EventKind.READY: "is ready",
    EventKind.FAILED: "failed",
    EventKind.CANCELLED: "was cancelled",
    EventKind.LOST: "has lost contact",
    EventKind.BACK: "is back",
    EventKind.FAILURES: "has failed items",
}
# How many datasets a digest names.
NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Message:
    """``key``: the same however often the message is sent, and that of no other."""

    key: str
    title: str
    text: str
    link: str
    json: str


def message_of(event: Event, dataset_id: str, key: str) -> Message:
    """Return what is said of one event."""
    progress = event.progress
    kind = EventKind(event.kind)
    title = f"{dataset_id} {WORDS[kind]}"
    lines = [f"Run {event.run}"]
    if progress.get("total"):
        unit = (progress.get("stage") or {}).get("unit", "items")
        lines[0] += f": {progress['current']:,} of {progress['total']:,} {unit}"
    if kind is EventKind.FAILURES or progress.get("failed"):
        lines.append(f"{progress['failed']:,} failed items ({event.failed_percent}%)")
    if kind is EventKind.FAILED and progress.get("error"):
        lines.append(str(progress["error"]).strip()[:500])
    link = link_to(dataset_id)
    body = {
        "type": f"dataset.{event.kind}",
        "timestamp": event.at.isoformat(),
        "data": {"dataset_id": dataset_id, "run": event.run, "link": link or None, "progress": progress},
    }
    return Message(key, title, "\n".join(lines), link, json.dumps(body))


def digest_of(events: Sequence[tuple[Event, str]], key: str) -> Message:
    """Return what is said of many events, each with the id of its dataset, in one message."""
    counts = Counter(EventKind(event.kind) for event, _ in events)
    said = ", ".join(f"{count:,} {_plain(kind)}" for kind, count in counts.most_common())
    lines = [f"{dataset_id} {WORDS[EventKind(event.kind)]} (run {event.run})" for event, dataset_id in events[:NAMED]]
    if len(events) > NAMED:
        lines.append(f"and {len(events) - NAMED:,} more")
    link = settings.SITE_URL + "/" if settings.SITE_URL else ""
    data: dict[str, Any] = {
        "counts": {kind.value: count for kind, count in counts.items()},
        "events": [
            {
                "type": f"dataset.{event.kind}",
                "timestamp": event.at.isoformat(),
                "dataset_id": dataset_id,
                "run": event.run,
            }
            for event, dataset_id in events
        ],
        "link": link or None,
    }
    body = {"type": "digest", "timestamp": events[-1][0].at.isoformat(), "data": data}
    return Message(key, f"{len(events):,} events: {said}", "\n".join(lines), link, json.dumps(body))


def test_message(key: str, timestamp: str) -> Message:
    """Return the message that shows whether a channel works."""
    body = {"type": "test", "timestamp": timestamp, "data": {}}
    return Message(key, "Test", "This channel works.", settings.SITE_URL, json.dumps(body))


def link_to(dataset_id: str) -> str:
    """Return the address of a dataset's page; empty without `SITE_URL`."""
    return f"{settings.SITE_URL}/datasets/{dataset_id}/" if settings.SITE_URL else ""


def _plain(kind: EventKind) -> str:
    return {
        EventKind.READY: "ready", EventKind.FAILED: "failed", EventKind.CANCELLED: "cancelled",
        EventKind.LOST: "without contact", EventKind.BACK: "back", EventKind.FAILURES: "with failed items",
    }[kind]  # fmt: skip
