"""What others may listen to. Sent after the commit, so whoever hears it can read what it tells of."""

from __future__ import annotations

from dataclasses import dataclass

from django.dispatch import Signal


@dataclass(frozen=True, slots=True)
class Change:
    """A dataset has reached ``version``. ``dataset_pk`` is the row's id, not the ``dataset_id`` of the wire."""

    dataset_pk: int
    version: int


# Sent with `change: Change`.
progress_changed = Signal(use_caching=True)
