"""System checks of the pages."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004 -- Django's name for it

from .client import client_wheel


def check_client(**kwargs: Any) -> list[CheckMessage]:
    """Warn before a deployment whose pages could not offer the client."""
    if client_wheel() is not None:
        return []
    hint = "Run `manage.py build_client`."
    return [
        Warning("The client package is not built, so it cannot be installed from this server.", hint, id="pages.W001")
    ]
