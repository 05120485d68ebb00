"""Announces committed changes: to the hubs of this process at once, to other processes over Redis where there is one.

Connected to the signal `progress_changed`.
"""

from __future__ import annotations

from django.conf import settings

from apps.progress.signals import Change

from .hub import notify_hubs

_publisher = None
if settings.REDIS_URL:
    from .doorbell import Publisher  # only with Redis: its client takes long to import

    _publisher = Publisher(settings.REDIS_URL)


def on_change(sender: object, change: Change, **kwargs: object) -> None:
    """The receiver of `progress_changed`."""
    notify_hubs(change)
    if _publisher is not None:
        _publisher.publish(change)
