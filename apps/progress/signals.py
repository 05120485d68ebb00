"""Signals: of a change, sent after the commit, and of what people want to be told, sent before it."""

from __future__ import annotations

from dataclasses import dataclass

from django.dispatch import Signal


@dataclass(frozen=True, slots=True)
class Change:
    """A dataset reached ``version``. ``dataset_pk`` is its row's id, not the ``dataset_id`` of the wire."""

    dataset_pk: int
    version: int


# Sent with `change: Change`.
progress_changed = Signal(use_caching=True)
# Sent with `events: list[RunEvent]`, within the transaction of the change: what a receiver writes is written with it.
runs_moved = Signal(use_caching=True)
