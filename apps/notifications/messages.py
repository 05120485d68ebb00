"""What is said of events: a title and a text for people, and JSON for programs. Only `summary_of` asks the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, Max, QuerySet

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
# A batch where some datasets failed is not what failed.
_BATCH_WORDS: Final = {**WORDS, EventKind.FAILED: "has failures"}
# How many events a digest names to people, and to programs. Of the others it says how many there are.
NAMED: Final = 20
LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class Message:
    """``key``: the same however often the message is sent, and that of no other."""

    key: str
    title: str
    text: str
    link: str
    json: str


def message_of(event: Event, key: str) -> Message:
    """Return what is said of one event."""
    link = link_to(event)
    text = "\n".join(_lines_of_batch(event) if event.batch_id else _lines_of_run(event))
    body = {
        "type": _type_of(event),
        "timestamp": event.at.isoformat(),
        "data": {**_subject_of(event), "link": link or None, "progress": event.progress},
    }
    return Message(key, _title_of(event), text, link, json.dumps(body))


def _title_of(event: Event) -> str:
    words = _BATCH_WORDS if event.batch_id else WORDS
    return f"{event.label} {words[EventKind(event.kind)]}"


def _type_of(event: Event) -> str:
    return f"{'batch' if event.batch_id else 'dataset'}.{event.kind}"


def _subject_of(event: Event) -> dict[str, Any]:
    return {"batch_id": event.subject_id} if event.batch_id else {"dataset_id": event.subject_id, "run": event.run}


def _lines_of_batch(event: Event) -> list[str]:
    failed = event.progress["failed"]
    return [event.progress["message"], *([f"{failed:,} failed {'item' if failed == 1 else 'items'}"] if failed else [])]


def _lines_of_run(event: Event) -> list[str]:
    progress, kind = event.progress, EventKind(event.kind)
    lines = [f"Run {event.run}"]
    if progress.get("total"):
        unit = (progress.get("stage") or {}).get("unit", "items")
        lines[0] += f": {progress['current']:,} of {progress['total']:,} {unit}"
    if kind is EventKind.FAILURES or progress.get("failed"):
        lines.append(f"{progress['failed']:,} failed items ({event.failed_percent}%)")
    if kind is EventKind.FAILED and progress.get("error"):
        lines.append(str(progress["error"]).strip()[:500])
    return lines


@dataclass(frozen=True, slots=True)
class Summary:
    """Any number of events: how many of each kind, the frequent ones first, the first `LISTED`, and the latest time."""

    counts: Mapping[EventKind, int]
    first: Sequence[Event]
    until: datetime | None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def summary_of(events: QuerySet[Event]) -> Summary:
    """Return the summary of events. Two queries, however many events there are."""
    kinds = events.order_by().values("kind").annotate(count=Count("pk"), until=Max("at"))
    rows = sorted(kinds, key=lambda row: (-row["count"], row["kind"]))
    first = events.select_related("dataset", "batch").defer("progress").order_by("pk")[:LISTED]
    return Summary(
        {EventKind(row["kind"]): row["count"] for row in rows},
        list(first),
        max((row["until"] for row in rows), default=None),
    )


def digest_of(summary: Summary, key: str) -> Message:
    """Return what is said of many events, at least one, in one message."""
    said = ", ".join(f"{count:,} {_plain(kind)}" for kind, count in summary.counts.items())
    named = summary.first[:NAMED]
    lines = [_title_of(event) + (f" (run {event.run})" if event.run else "") for event in named]
    if summary.total > len(named):
        lines.append(f"and {summary.total - len(named):,} more")
    link = settings.SITE_URL + "/" if settings.SITE_URL else ""
    data: dict[str, Any] = {
        "counts": {kind.value: count for kind, count in summary.counts.items()},
        "events": [
            {"type": _type_of(event), "timestamp": event.at.isoformat(), **_subject_of(event)}
            for event in summary.first
        ],
        "link": link or None,
    }
    timestamp = summary.until.isoformat() if summary.until else ""
    body = {"type": "digest", "timestamp": timestamp, "data": data}
    return Message(key, f"{summary.total:,} events: {said}", "\n".join(lines), link, json.dumps(body))


def test_message(key: str, timestamp: str) -> Message:
    """Return the message that shows whether a channel works."""
    body = {"type": "test", "timestamp": timestamp, "data": {}}
    return Message(key, "Test", "This channel works.", settings.SITE_URL, json.dumps(body))


def link_to(event: Event) -> str:
    """Return the address of the page of the event's dataset or batch; empty without `SITE_URL`."""
    return f"{settings.SITE_URL}{event.subject.get_absolute_url()}" if settings.SITE_URL else ""


def _plain(kind: EventKind) -> str:
    return {
        EventKind.READY: "ready", EventKind.FAILED: "failed", EventKind.CANCELLED: "cancelled",
        EventKind.LOST: "without contact", EventKind.BACK: "back", EventKind.FAILURES: "with failed items",
    }[kind]  # fmt: skip
