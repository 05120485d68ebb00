"""The wheel of the client package, from which any machine that reaches this server can install the client."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings


def client_wheel() -> Path | None:
    """Return the wheel that `manage.py build_client` built; None if it was not run."""
    return next(iter(settings.CLIENT_DIST.glob("*.whl")), None)
