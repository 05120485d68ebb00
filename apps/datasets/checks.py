"""System checks of who may see datasets."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 -- Django's name for it


def check_visibility(**kwargs: Any) -> list[CheckMessage]:
    """Warn before a deployment that shows new datasets to anyone."""
    if settings.SIGN_IN_REQUIRED or not settings.DATASETS_PUBLIC:
        return []
    return [
        Warning(
            "Anyone who can reach this site sees every dataset whose visibility was not chosen.",
            hint="Set SIGN_IN_REQUIRED=on, or DATASETS_PUBLIC=off, or silence this check where that is meant.",
            id="datasets.W001",
        )
    ]
