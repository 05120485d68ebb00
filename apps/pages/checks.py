"""System checks: what is wrong with the settings of the pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    if settings.BAR_POLL_SECONDS > 0:
        return []
    return [Error("BAR_POLL_SECONDS has to be more than 0.", id="pages.E001")]
