"""Rings when a change is committed: the hubs of this process at once, those of others over Redis if there is one."""

from __future__ import annotations

from django.conf import settings

from apps.progress.signals import Change

from .hub import ring_everyone

_publisher = None
if settings.REDIS_URL:
    from .doorbell import Publisher  # here, so that a machine without Redis does not wait for its client

    _publisher = Publisher(settings.REDIS_URL)


def on_change(sender: object, change: Change, **kwargs: object) -> None:
    """The receiver of `progress_changed`."""
    ring_everyone(change)
    if _publisher is not None:
        _publisher.ring(change)
