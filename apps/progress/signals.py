"""The signal of a change. It is sent after the commit, so a receiver can read the change."""

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
