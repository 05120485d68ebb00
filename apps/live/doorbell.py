"""Rings the hubs of this process when a change is committed in it. What is written elsewhere, their looks find."""

from __future__ import annotations

from apps.progress.signals import Change

from .hub import ring_everyone


def ring(sender: object, change: Change, **kwargs: object) -> None:
    """The receiver of `progress_changed`."""
    ring_everyone(change.dataset_pk)
