"""System checks of the settings of the sockets. Django runs them at every start and with `manage.py check`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    errors: list[CheckMessage] = [
        Error(
            f"ALLOWED_ORIGINS has {origin!r}, which is no origin.",
            hint="Write scheme, host and, where it is not the usual one, port: https://app.example.org",
            id="live.E001",
        )
        for origin in settings.ALLOWED_ORIGINS
        if not _is_origin(origin)
    ]
    if settings.SOCKETS_PER_ADDRESS < 0:
        errors.append(Error("SOCKETS_PER_ADDRESS has to be 0 (any number) or more.", id="live.E002"))
    return errors


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.netloc) and text == f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        return False
