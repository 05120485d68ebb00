"""What the id of a dataset looks like: the string by which people and pipelines know it."""

from __future__ import annotations

import re
from typing import Final

DATASET_ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

_dataset_id = re.compile(DATASET_ID_PATTERN)


def is_dataset_id(text: str) -> bool:
    """Return whether a dataset can have this id."""
    return _dataset_id.fullmatch(text) is not None
