"""System checks: what is wrong with the settings of the API."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    if settings.TOKEN_REQUESTS_A_SECOND >= 0:
        return []
    return [Error("TOKEN_REQUESTS_A_SECOND has to be 0 (any number) or more.", id="api.E001")]
