"""Patterns of dataset ids: what a token covers. A pattern is an id, the start of one followed by ``*``, or ``*``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.db.models.functions import Left
from django.db.models.lookups import Exact

from apps.datasets.dataset_ids import DATASET_ID_PATTERN


def parse_patterns(text: str) -> list[str]:
    """Split a list that is separated by commas or blanks. Raises `ValidationError`."""
    patterns = re.split(r"[\s,]+", text.strip())
    for pattern in patterns:
        if not re.fullmatch(rf"\*|{DATASET_ID_PATTERN}\*?", pattern):
            raise ValidationError(f"{pattern!r} is neither an ID nor the start of one followed by *.")
    return ["*"] if "*" in patterns else sorted(set(patterns))


def covers(patterns: Iterable[str], dataset_id: str) -> bool:
    """Return whether one of the patterns matches the id."""
    return any(
        dataset_id.startswith(pattern[:-1]) if pattern.endswith("*") else dataset_id == pattern for pattern in patterns
    )


def covered(patterns: Iterable[str]) -> Q:
    """Return `covers` as a condition on datasets."""
    condition = Q(pk__in=[])
    for pattern in patterns:
        if pattern == "*":
            return Q()
        # Not `startswith`: SQLite would ignore case.
        start = pattern.removesuffix("*")
        condition |= Q(Exact(Left("dataset_id", len(start)), start)) if start != pattern else Q(dataset_id=pattern)
    return condition
